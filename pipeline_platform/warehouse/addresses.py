"""Addresses of databases: checked, changed and made, and never shown."""

import json
from urllib.parse import quote, unquote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pipeline_platform.failures import InvalidSettingError, RefusedError, UnavailableError

_SECRET_FIELDS = ("username", "password", "host", "port", "dbname")


def require_url(url: str, setting: str = "PLATFORM_DATABASE_URL") -> None:
    """Raise InvalidSettingError, without repeating the address, unless it is a usable one.

    An unescaped `@` or `/` in a password would make the rest of it a host name or a port, which
    drivers then repeat in their errors; so both are refused here.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = {}
    is_url = url.startswith(("postgresql://", "postgres://")) and bool(parts)
    ports = str(parts.get("port") or "5432").split(",")
    if not is_url or "@" in str(parts.get("host", "")) or not all(p.isdigit() for p in ports):
        raise InvalidSettingError(
            f"The setting {setting} is not an address such as "
            "postgresql://user:password@host:5432/database; special characters in it must be "
            "percent-encoded."
        )


def with_database(url: str, name: str) -> str:
    """Return the address of another database on the same server."""
    return urlsplit(url)._replace(path="/" + quote(name, safe="")).geturl()


def with_schema(url: str, name: str) -> str:
    """Return the address under which a schema is searched first and new tables go there."""
    return _with_option(url, f"-csearch_path={name}")


def read_only(url: str) -> str:
    """Return the address under which the server refuses each change."""
    return _with_option(url, "-cdefault_transaction_read_only=on")


def _with_option(url: str, option: str) -> str:
    """Add to the options of an address: a second `options` would take the place of the first."""
    parts = urlsplit(url)
    given = [one for one in parts.query.split("&") if one]
    options = [unquote(one.partition("=")[2]) for one in given if one.startswith("options=")]
    others = [one for one in given if not one.startswith("options=")]
    joined = urlencode({"options": " ".join([*options, option])}, quote_via=quote)
    return parts._replace(query="&".join([*others, joined])).geturl()


def url_from_secret(name: str, region: str) -> str:
    """Read the address from AWS Secrets Manager (SA-7): username, password, host, port, dbname.

    Raises InvalidSettingError for a secret that is missing or not like that, UnavailableError when
    the service does not answer.
    """
    return _url_of_secret(name, secret_text(name, region, "PLATFORM_DATABASE_SECRET_NAME"))


def secret_text(name: str, region: str, setting: str) -> str:
    """Read a secret of AWS Secrets Manager, whose name stands in a setting.

    The endpoint is AWS's unless AWS_ENDPOINT_URL says otherwise. Raises InvalidSettingError for a
    secret that can't be read, UnavailableError when the service does not answer.
    """
    import boto3  # noqa: PLC0415 - slow import, for this only
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    client = boto3.client("secretsmanager", region_name=region)
    try:
        return str(client.get_secret_value(SecretId=name).get("SecretString", ""))
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in {"ResourceNotFoundException", "AccessDeniedException", "ValidationException"}:
            kind = RefusedError if code == "AccessDeniedException" else InvalidSettingError
            raise kind(
                f"The secret {name!r} of {setting} can't be read ({code}); check its name, "
                "region and the role's permission secretsmanager:GetSecretValue."
            ) from None
        raise UnavailableError(f"Secrets Manager refused to answer ({code}).") from None
    except BotoCoreError as error:
        raise UnavailableError(
            f"Secrets Manager can't be asked for {name!r} ({type(error).__name__}); check the "
            "network and the AWS credentials."
        ) from None


def _url_of_secret(name: str, text: str) -> str:
    try:
        secret = json.loads(text)
        missing = [field for field in _SECRET_FIELDS if not str(secret.get(field, ""))]
    except (ValueError, AttributeError):
        missing = list(_SECRET_FIELDS)
    if missing:
        raise InvalidSettingError(
            f"The secret {name!r} lacks {', '.join(missing)}; it must be a JSON object with "
            f"{', '.join(_SECRET_FIELDS)}."
        )
    user, password, host, port, database = (
        quote(str(secret[field]), safe="") for field in _SECRET_FIELDS
    )
    url = f"postgresql://{user}:{password}@{host}:{port}/{database}"
    require_url(url, "PLATFORM_DATABASE_SECRET_NAME")
    return url
