"""Where the emulation answers otherwise than AWS, corrected; each with AWS's documentation."""

from ministack.core import iam_evaluator
from ministack.services import alb, apigateway


def install():
    principal_arn_of_a_session()
    no_http_health_check_for_tcp()
    apis_of_every_account()


def principal_arn_of_a_session():
    """For a role's session aws:PrincipalArn is the role's ARN, not the session's.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn
    """
    resolve = iam_evaluator._resolve_condition_key

    def resolved(key, context):
        value = resolve(key, context)
        if key.lower() != "aws:principalarn" or ":assumed-role/" not in (value or ""):
            return value
        account, role = value.split(":")[4], value.split("/")[1]
        return f"arn:aws:iam::{account}:role/{role}"

    iam_evaluator._resolve_condition_key = resolved


def no_http_health_check_for_tcp():
    """Only HTTP health checks have a path and codes to match.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroup.html
    """
    write = alb._tg_xml

    def written(group):
        text = write(group)
        if group.get("HealthCheckProtocol", "HTTP").startswith("HTTP"):
            return text
        for name in ("HealthCheckPath", "Matcher"):
            before, _, rest = text.partition(f"<{name}>")
            text = before + rest.partition(f"</{name}>")[2]
        return text

    alb._tg_xml = written


def apis_of_every_account():
    """Whoever calls an HTTP API's URL is in no account: the API is found by its id alone.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-publish.html
    """

    def scope(api_id):
        owners = [(account, region) for (account, region, known), _ in apigateway._apis.all_items() if known == api_id]
        return owners[0] if owners else None

    apigateway.find_api_scope = scope
