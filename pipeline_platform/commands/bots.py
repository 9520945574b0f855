"""`pipeline-platform bots`: judge an agent, and measure the bot list on labelled ones (SW-30)."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.output import AsJson, plain_failures
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.web_events.bot_evaluation import evaluate, read_labelled_agents
from pipeline_platform.web_events.bots import load_bot_list
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.user_agents import describe

app = typer.Typer(help="Which user agents are bots, and by which rule.")


@app.command()
def judge(
    agent: Annotated[str, typer.Argument(help="A user agent, as the log gives it.")],
    as_json: AsJson = False,
) -> None:
    """Say whether an agent is a bot, by which rule, and what it says of itself."""
    with plain_failures():
        bot_list = load_bot_list(load_runbook().rulings.friends)
        verdict = bot_list.judge(agent)
        facts = {
            "is_bot": verdict.is_bot,
            "bot_rule_id": verdict.bot_rule_id,
            "bot_list_version": bot_list.version,
            **describe(agent)._asdict(),
        }
        show_facts("Agent", facts, as_json=as_json)


@app.command("evaluate")
def evaluate_file(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="CSV with user_agent (or ua) and is_bot."),
    ],
    as_json: AsJson = False,
) -> None:
    """Measure precision and recall on labelled agents, and name the rules with false alarms."""
    with plain_failures():
        bot_list = load_bot_list(load_runbook().rulings.friends)
        found = evaluate(read_labelled_agents(file), bot_list)
        rules = [
            {"rule": one.bot_rule_id, "agents": one.agents, "false alarms": one.false_alarms}
            for one in found.worst_rules
        ]
        facts: dict[str, object] = {
            "precision": round(found.precision, 4),
            "recall": round(found.recall, 4),
            "bots found": found.found,
            "bots missed": found.missed,
            "false alarms": found.false_alarms,
            "people left alone": found.left_alone,
            "bot list version": bot_list.version,
        }
        if as_json:
            show_facts("", {**facts, "worst rules": rules}, as_json=True)
            return
        show_facts("Bot list", facts, as_json=False)
        show_rows("Rules with false alarms", rows=rules, as_json=False)
