import platform

import boto3


def handler(event, context):
    print("hello from Python", platform.python_version())
    arn = boto3.client("sts").get_caller_identity()["Arn"]
    return {"hello": event["name"], "from": f"Python {platform.python_version()}", "as": arn}
