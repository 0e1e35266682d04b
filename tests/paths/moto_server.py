"""Runs moto's server with an ECS service whose newest task definition is bad, and whoever may do what the policy says.

Never listens elsewhere than on loopback. Prints one line of JSON, and ends when its standard input does.
Usage: moto_server.py POLICY_FILE
"""

import json
import os
import sys

os.environ.update(AWS_ACCESS_KEY_ID="seed", AWS_SECRET_ACCESS_KEY="seed", MOTO_ECS_SERVICE_RUNNING="2")

import boto3
import requests
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"
ecs = boto3.client("ecs", region_name="eu-central-1", endpoint_url=url)
ecs.create_cluster(clusterName="prod")
for tag in ("v41", "v42"):
    container = {"name": "app", "image": f"registry.test:5000/shop:{tag}", "memory": 128}
    ecs.register_task_definition(family="shop", containerDefinitions=[container])
ecs.create_service(cluster="prod", serviceName="shop", taskDefinition="shop:2", desiredCount=2)

iam = boto3.client("iam", region_name="eu-central-1", endpoint_url=url)
iam.create_user(UserName="rollbackd")
with open(sys.argv[1], encoding="utf-8") as policy:
    iam.put_user_policy(UserName="rollbackd", PolicyName="ecs", PolicyDocument=policy.read())
key = iam.create_access_key(UserName="rollbackd")["AccessKey"]
# From here on every request is refused that is not signed rightly, or that the policy does not allow.
requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
print(json.dumps({"url": url, "key_id": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}), flush=True)
sys.stdin.read()
server.stop()
