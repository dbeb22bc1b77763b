"""What the language has and the engine cannot run yet: the one list of it.

Such an instruction is read and checked like any other; it is an error only if the target
needs the stage it stands in. When the engine learns one, take its line out.
"""

from argosy.build.dockerfile.source import Fault

NOT_YET = {
    "ADD URL": "download the file in a RUN step, or before the build into the context",
    "ADD git": "clone in a RUN step, or before the build into the context",
}


def require(feature: str, at: str = "") -> None:
    """Fault if the engine cannot run the feature yet."""
    if feature in NOT_YET:
        raise Fault(f"{feature} is not supported yet", at=at, remedy=NOT_YET[feature])
