"""What `candor models verify` prints."""

from collections.abc import Sequence

from candor.terminal.console import stderr, stdout
from model_store.lifecycle.verification import Finding


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a line for each thing, and how many are refused."""
    for finding in findings:
        what = (
            f"{finding.model} {finding.item}"
            if finding.kind == "version"
            else f"{finding.model} {finding.kind} {finding.item}"
        )
        said = (
            f"refused: {finding.problem}"
            if finding.problem
            else f"whole{f', {finding.digest}' if finding.digest else ''}"
        )
        stdout.print(f"{what}: {said}")
    refused = sum(finding.problem is not None for finding in findings)
    stderr.print(f"{len(findings)} looked at, {refused} refused")
