"""Sessions of AWS's client library, as everything here opens them."""

import functools

import boto3
import botocore.loaders
import botocore.session


@functools.cache
def _service_models() -> botocore.loaders.Loader:
    return botocore.loaders.create_loader()


def aws_session(region: str | None = None) -> boto3.session.Session:
    """Open a session with credentials of its own; all share the descriptions of AWS's services.

    boto3's default session would keep credentials that were taken away since. Reading and checking
    the descriptions anew for each session costs a tenth of a second for each client.
    """
    session = botocore.session.Session()
    session.register_component("data_loader", _service_models())
    return boto3.session.Session(region_name=region, botocore_session=session)
