"""YAML in which nothing may stand twice: a second value would silently win over the first."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipeline_platform.failures import InvalidRunbookError

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.CSafeLoader):
    """The safe loader in C (eight times faster), which refuses a key that a mapping already has."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; raises OSError, UnicodeDecodeError or yaml.YAMLError."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 -- a safe one


def read_model(path: Path, model: type[Model], noun: str) -> Model:
    """Read a YAML file as a model; raise InvalidRunbookError that names the file and the field.

    `noun` is what the file holds, for a fault of the whole.
    """
    try:
        return model.model_validate(read_yaml(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRunbookError(f"{path} can't be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidRunbookError(f"{path}: {field or noun}: {first['msg']}.") from None
