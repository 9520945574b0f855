"""What an asset, check or sensor asks for to get at the platform's services."""

import dagster as dg

from pipeline_platform.services import Services

ServicesParam = dg.ResourceParam[Services]
