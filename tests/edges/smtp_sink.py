"""A real mail server for a test: aiosmtpd, which demands STARTTLS and a login, and writes each mail into a folder.

Usage: smtp_sink.py DIR implicit|starttls    with server.pem and server.key in DIR; the user is "pager", the password "s3cret".
"""

import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(folder / "server.pem", folder / "server.key")


class Folder:
    taken = 0

    async def handle_DATA(self, server, session, envelope):
        Folder.taken += 1
        (folder / f"{Folder.taken}.eml").write_bytes(envelope.content)
        return f"250 2.0.0 for {' '.join(envelope.rcpt_tos)}"


def authenticate(server, session, envelope, mechanism, login):
    right = (login.login, login.password) == (b"pager", b"s3cret")
    return AuthResult(success=right, handled=False)


def session():
    tls = {"tls_context": context, "require_starttls": True} if kind == "starttls" else {"auth_require_tls": False}
    return SMTP(Folder(), authenticator=authenticate, auth_required=True, **tls)


async def main():
    served = {"ssl": context} if kind == "implicit" else {}
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, **served)
    print("takes mail at 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
