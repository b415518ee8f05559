"""``dlskit completion``: complete the command in a shell."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, for the command under the name by which it is called now.

    \b
    bash: source it, for example from ~/.bashrc: . <(dls completion bash)
    zsh:  put it into a folder of $fpath, as _<name of the command>
    fish: put it into ~/.config/fish/completions, as <name of the command>.fish
    """
    root = ctx.find_root()
    name = (root.info_name or "dlskit").rsplit("/", 1)[-1]
    variable = f"_{name}_COMPLETE".replace("-", "_").replace(".", "_").upper()
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    script = kind(root.command, {}, name, variable)
    click.echo(script.source_template % script.source_vars())
