"""A platform whose preparation takes long, prepared once and given to each test as it was then."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from pydantic import SecretStr

from pipeline_platform.lake.catalog import CATALOG_DATABASE
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.addresses import with_database


@dataclass(frozen=True)
class PreparedPlatform:
    """The settings of a prepared platform, a copy of its home and what makes databases like it.

    One test at a time: the lake names its files by their whole path, so all have the same home.
    """

    settings: Settings
    kept: Path
    new_database: Callable[..., str]

    @classmethod
    def made(
        cls, folder: Path, new_database: Callable[..., str], prepare: Callable[[Services], object]
    ) -> "PreparedPlatform":
        """Prepare a platform below an empty folder."""
        home, url = folder / "home", SecretStr(new_database())
        settings = Settings(home=home, environment="test", database_url=url)
        with Services(settings) as services:
            prepare(services)
        return cls(settings, Path(shutil.copytree(home, folder / "kept")), new_database)

    def restored(self) -> Settings:
        """Return the platform as it was prepared: its home, a database and tables like its own."""
        shutil.rmtree(self.settings.home)
        shutil.copytree(self.kept, self.settings.home)
        prepared = _name(self.settings.database_url.get_secret_value())
        url = self.new_database(template=prepared)
        with psycopg.connect(with_database(url, CATALOG_DATABASE)) as connection:
            for table in ("iceberg_tables", "iceberg_namespace_properties"):
                connection.execute(
                    f"INSERT INTO {table} SELECT (jsonb_populate_record("
                    "one, jsonb_build_object('catalog_name', %s::text))).* "
                    f"FROM {table} AS one WHERE catalog_name = %s",
                    (_name(url), prepared),
                )
        return self.settings.model_copy(update={"database_url": SecretStr(url)})


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
