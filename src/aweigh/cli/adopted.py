"""What `import` and `pull` say of a package that was taken in."""

from aweigh.app.archives import Adopted
from aweigh.cli.output import Output, warn


def show_adopted(output: Output, adopted: Adopted) -> None:
    """Print the package and how its variants did on this machine."""
    package = adopted.package
    document = {
        "model": str(package.reference),
        "digest": package.digest,
        "size_bytes": package.size_bytes,
        "variants": [{"name": trial.variant, "tried": trial.tried, "passed": trial.passed, "note": trial.note} for trial in adopted.trials],
    }

    def draw() -> None:
        output.text(f"{package.reference}  {package.digest}")
        for trial in adopted.trials:
            if trial.passed:
                output.text(f"variant {trial.variant}: answers the golden set on this machine as it should")
            else:
                what = "answers the golden set differently on this machine" if trial.tried else "was not tried"
                warn(f"variant {trial.variant} {what}: {trial.note}")
        output.text("", f"next: aweigh serve {package.reference}    or    aweigh show {package.reference}")

    output.show(document, draw)
