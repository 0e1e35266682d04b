//! What is signed of a request, and where it goes.

use super::*;

static SERVICE: Service = Service {
    name: "Amazon ECS",
    signing: "ecs",
    target: "AmazonEC2ContainerServiceV20141113",
    content_type: "application/x-amz-json-1.1",
};

fn settings(endpoint: Option<&str>) -> AwsSettings {
    AwsSettings {
        region: "us-east-1".to_owned(),
        endpoint: endpoint.map(|url| Endpoint::parse(url).unwrap()),
        chain: Chain::default(),
        http: HttpSettings::with_timeout(REQUEST_TIMEOUT),
        poll_interval: POLL_INTERVAL,
    }
}

#[test]
fn a_request_with_a_session_to_an_address_with_port_and_path_is_signed_as_botocore_signs_it() {
    crate::clock::replace(|| "2015-08-30T12:36:00Z".parse().unwrap());
    let settings = settings(Some("http://127.0.0.1:4566/aws/"));
    let ready = Ready::default();
    let aws = Aws::new(&SERVICE, &settings, &ready).unwrap();
    let credentials = Credentials::fixed("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let credentials = credentials.with_token(Some("t0ken/+=".to_owned()));
    let headers = aws.headers("DescribeServices", r#"{"cluster": "prod", "services": ["shop"]}"#, &credentials);
    let (name, authorization) = headers.last().unwrap();
    let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/ecs/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
        Signature=8b55e0be68b8b06630731d5bbb3c4c20e0a0bb4981295c36d2383084b61958ed";
    assert_eq!((*name, authorization.as_str()), ("authorization", expected));
}

#[test]
fn each_partition_has_its_own_address() {
    let (settings, ready) = (settings(None), Ready::default());
    let aws = Aws::new(&SERVICE, &settings, &ready).unwrap();
    assert_eq!(aws.url.as_str(), "https://ecs.us-east-1.amazonaws.com/");
    for (region, expected) in [
        ("us-gov-west-1", "https://ecs.us-gov-west-1.amazonaws.com/"),
        ("cn-north-1", "https://ecs.cn-north-1.amazonaws.com.cn/"),
        ("eusc-de-east-1", "https://ecs.eusc-de-east-1.amazonaws.eu/"),
    ] {
        assert_eq!(public_url("ecs", region), expected);
    }
}

#[tokio::test]
async fn the_credentials_of_a_pre_flight_are_those_of_the_attempt_which_follows() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let write = |key: &str| {
        std::fs::write(&file, format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = s3cret\n"))
            .unwrap();
    };
    let mut settings = settings(None);
    settings.chain.file = Some(file.clone());
    let (ready, nothing) = (Ready::of_preflight(), Ready::default());
    let key_of =
        async |ready: &Ready| Aws::new(&SERVICE, &settings, ready).unwrap().credentials().await.unwrap().key_id;
    write("AKIDFIRST");
    assert_eq!(key_of(&ready).await, "AKIDFIRST");
    write("AKIDSECOND");
    assert_eq!(key_of(&ready).await, "AKIDFIRST");
    assert_eq!(key_of(&nothing).await, "AKIDSECOND");
}
