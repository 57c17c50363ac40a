"""``transfers``, ``policies``, ``models``, ...: list the plug-ins that a study file can name, with their options."""

from __future__ import annotations

import inspect
from typing import Any

import click

from kdstudy.cli.completion import plugin_names
from kdstudy.cli.options import json_option, plugin_option, print_json
from kdstudy.cli.type_words import type_words
from kdstudy.plugins import (
    AUGMENTATIONS,
    DATASETS,
    MODELS,
    OPTIMIZERS,
    POLICIES,
    PRUNERS,
    SAMPLERS,
    SCHEDULES,
    TRANSFERS,
    Registry,
)
from kdstudy.study import flow_text


def _command(name: str, registry: Registry) -> click.Command:
    @click.command(name, help=f"List every {registry.kind}, or document NAME: options, defaults, source.")
    @click.argument("plugin", metavar="[NAME]", required=False, shell_complete=plugin_names(registry))
    @plugin_option
    @json_option
    def command(plugin: str | None, as_json: bool) -> None:
        if plugin is None:
            _list(registry, as_json)
        else:
            _document(registry, plugin, as_json)

    return command


def _list(registry: Registry, as_json: bool) -> None:
    names = list(registry)
    if as_json:
        print_json([{"name": name, "summary": _summary(registry.load(name))} for name in names])
        return
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name.ljust(width)}  {_summary(registry.load(name))}")


def _document(registry: Registry, name: str, as_json: bool) -> None:
    plugin = registry.load(name)
    options = [
        {
            "name": option.name,
            "type": type_words(option.annotation),
            "required": option.required,
            "default": None if option.required else option.default,
        }
        for option in registry.options(name).values()
    ]
    text = inspect.cleandoc(plugin.__doc__ or "")
    if as_json:
        print_json({"name": name, "options": options, "documentation": text})
        return
    click.echo(f"{registry.kind} {name}")
    for option in options:
        default = "required" if option["required"] else f"default {flow_text(option['default'])}"
        click.echo(f"  {option['name']}: {option['type']} ({default})")
    click.echo(f"\n{text}")


def _summary(plugin: Any) -> str:
    return inspect.cleandoc(plugin.__doc__ or "").partition("\n")[0]


transfers_command = _command("transfers", TRANSFERS)
policies_command = _command("policies", POLICIES)
models_command = _command("models", MODELS)
datasets_command = _command("datasets", DATASETS)
augmentations_command = _command("augmentations", AUGMENTATIONS)
samplers_command = _command("samplers", SAMPLERS)
optimizers_command = _command("optimizers", OPTIMIZERS)
schedules_command = _command("schedules", SCHEDULES)
pruners_command = _command("pruners", PRUNERS)
