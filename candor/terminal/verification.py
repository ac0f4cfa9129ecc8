"""What `candor models verify` prints."""

from collections.abc import Sequence

from candor.terminal.console import stderr, stdout
from model_store.bundle.bundle import Bundle
from model_store.bundle.manifest import describe
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


def print_unsealed(bundle: Bundle) -> None:
    """Print what a version without a manifest holds, for a person to confirm."""
    card = bundle.card
    stdout.print(
        f"{card.name} version {card.version}, made {card.provenance.created_at:%Y-%m-%d} from "
        f"{card.provenance.dataset}"
    )
    for index, name in enumerate(card.classes):
        stdout.print(f"  class {index}: {name}")
    refers = f", refers below {card.referral.threshold}" if card.referral else ""
    stdout.print(f"  temperature {card.calibration.temperature:.3f}{refers}")
    for name, entry in describe(bundle.folder).items():
        stdout.print(f"  {name}: {entry.size_bytes:,} bytes, sha256 {entry.sha256}")
