"""The build checks as values: one for each, with all that is said about it anywhere.

Names, descriptions and messages are those of BuildKit's stable frontend, since they
are what people search for; source: its linter/ruleset.go. The last one is our own.
The documentation (docs/checks.md) is made from these values.
"""

from argosy.values import frozen

_DOCKER = "https://docs.docker.com/go/dockerfile/rule/"


@frozen(kw_only=True)
class Rule:
    """One check: `message` is a format that the words of a finding are put into.

    `experimental` checks run only when asked for by name. `advice` is shown, but fails
    nothing: neither --check nor a build with error=true.
    """

    name: str
    description: str
    message: str
    url: str = ""
    bad: str = ""  # a Dockerfile, or a part of one, that the check finds fault with
    good: str = ""
    experimental: bool = False
    advice: bool = False

    def detail(self, *words: str) -> str:
        """The message for one finding."""
        return self.message.format(*words)


STAGE_NAME_CASING = Rule(
    name="StageNameCasing",
    description="Stage names should be lowercase",
    message="Stage name '{}' should be lowercase",
    url=_DOCKER + "stage-name-casing/",
    bad="FROM scratch AS Build",
    good="FROM scratch AS build",
)
FROM_AS_CASING = Rule(
    name="FromAsCasing",
    description="The 'as' keyword should match the case of the 'from' keyword",
    message="'{}' and '{}' keywords' casing do not match",
    url=_DOCKER + "from-as-casing/",
    bad="FROM scratch as build",
    good="FROM scratch AS build",
)
NO_EMPTY_CONTINUATION = Rule(
    name="NoEmptyContinuation",
    description="Empty continuation lines will become errors in a future release",
    message="Empty continuation line",
    url=_DOCKER + "no-empty-continuation/",
    bad="FROM scratch\nCOPY a \\\n\n  /b",
    good="FROM scratch\nCOPY a \\\n  /b",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    name="ConsistentInstructionCasing",
    description=(
        "All commands within the Dockerfile should use the same casing (either upper or lower)"
    ),
    message="Command '{}' should match the case of the command majority ({})",
    url=_DOCKER + "consistent-instruction-casing/",
    bad="FROM scratch\nCOPY a /a\ncopy b /b",
    good="FROM scratch\nCOPY a /a\nCOPY b /b",
)
DUPLICATE_STAGE_NAME = Rule(
    name="DuplicateStageName",
    description="Stage names should be unique",
    message='Duplicate stage name "{}", stage names should be unique',
    url=_DOCKER + "duplicate-stage-name/",
    bad="FROM scratch AS a\nFROM scratch AS a",
    good="FROM scratch AS a\nFROM scratch AS b",
)
RESERVED_STAGE_NAME = Rule(
    name="ReservedStageName",
    description="Reserved words should not be used as stage names",
    message='Stage name should not use the same name as reserved stage "{}"',
    url=_DOCKER + "reserved-stage-name/",
    bad="FROM scratch AS context",
    good="FROM scratch AS sources",
)
JSON_ARGS_RECOMMENDED = Rule(
    name="JSONArgsRecommended",
    description=(
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior"
        " related to OS signals"
    ),
    message=(
        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals"
    ),
    url=_DOCKER + "json-args-recommended/",
    bad="FROM scratch\nCMD serve --all",
    good='FROM scratch\nCMD ["serve", "--all"]',
)
MAINTAINER_DEPRECATED = Rule(
    name="MaintainerDeprecated",
    description=(
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
    ),
    message="Maintainer instruction is deprecated in favor of using label",
    url=_DOCKER + "maintainer-deprecated/",
    bad="FROM scratch\nMAINTAINER me@example.org",
    good='FROM scratch\nLABEL org.opencontainers.image.authors="me@example.org"',
)
UNDEFINED_ARG_IN_FROM = Rule(
    name="UndefinedArgInFrom",
    description="FROM command must use declared ARGs",
    message="FROM argument '{}' is not declared{}",
    url=_DOCKER + "undefined-arg-in-from/",
    bad="FROM debian:${VERSION}12",
    good="ARG VERSION\nFROM debian:${VERSION}12",
)
WORKDIR_RELATIVE_PATH = Rule(
    name="WorkdirRelativePath",
    description=(
        "Relative workdir without an absolute workdir declared within the build can have"
        " unexpected results if the base image changes"
    ),
    message='Relative workdir "{}" can have unexpected results if the base image changes',
    url=_DOCKER + "workdir-relative-path/",
    bad="FROM debian\nWORKDIR app",
    good="FROM debian\nWORKDIR /app",
)
UNDEFINED_VAR = Rule(
    name="UndefinedVar",
    description="Variables should be defined before their use",
    message="Usage of undefined variable '${}'{}",
    url=_DOCKER + "undefined-var/",
    bad="FROM scratch\nCOPY $SOURCE /",
    good="FROM scratch\nARG SOURCE=src\nCOPY $SOURCE /",
)
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    name="MultipleInstructionsDisallowed",
    description="Multiple instructions of the same type should not be used in the same stage",
    message=(
        "Multiple {} instructions should not be used in the same stage because only the last"
        " one will be used"
    ),
    url=_DOCKER + "multiple-instructions-disallowed/",
    bad='FROM scratch\nCMD ["a"]\nCMD ["b"]',
    good='FROM scratch\nCMD ["b"]',
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    name="LegacyKeyValueFormat",
    description="Legacy key/value format with whitespace separator should not be used",
    message='"{0} key=value" should be used instead of legacy "{0} key value" format',
    url=_DOCKER + "legacy-key-value-format/",
    bad="FROM scratch\nENV MODE fast",
    good="FROM scratch\nENV MODE=fast",
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    name="InvalidBaseImagePlatform",
    description="Base image platform does not match expected target platform",
    message='Base image {} was pulled with platform "{}", expected "{}" for current build',
)
REDUNDANT_TARGET_PLATFORM = Rule(
    name="RedundantTargetPlatform",
    description=(
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the"
        " default behavior"
    ),
    message=(
        "Setting platform to predefined {} in FROM is redundant as this is the default behavior"
    ),
    url=_DOCKER + "redundant-target-platform/",
    bad="FROM --platform=$TARGETPLATFORM debian",
    good="FROM debian",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    name="SecretsUsedInArgOrEnv",
    description="Sensitive data should not be used in the ARG or ENV commands",
    message='Do not use ARG or ENV instructions for sensitive data ({} "{}")',
    url=_DOCKER + "secrets-used-in-arg-or-env/",
    bad="FROM scratch\nARG API_TOKEN",
    good="FROM scratch\nRUN --mount=type=secret,id=api-token,env=API_TOKEN publish",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    name="InvalidDefaultArgInFrom",
    description="Default value for global ARG results in an empty or invalid base image name",
    message="Default value for ARG {} results in empty or invalid base image name",
    url=_DOCKER + "invalid-default-arg-in-from/",
    bad="ARG TAG\nFROM debian:$TAG",
    good="ARG TAG=12\nFROM debian:$TAG",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    name="FromPlatformFlagConstDisallowed",
    description="FROM --platform flag should not use a constant value",
    message='FROM --platform flag should not use constant value "{}"',
    url=_DOCKER + "from-platform-flag-const-disallowed/",
    bad="FROM --platform=linux/amd64 debian",
    good="FROM --platform=$BUILDPLATFORM debian",
)
COPY_IGNORED_FILE = Rule(
    name="CopyIgnoredFile",
    description="Attempting to Copy file that is excluded by .dockerignore",
    message='Attempting to {} file "{}" that is excluded by .dockerignore',
    url=_DOCKER + "copy-ignored-file/",
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    name="InvalidDefinitionDescription",
    description=(
        "Comment for build stage or argument should follow the format:"
        " `# <arg/stage name> <description>`. If this is not intended to be a description"
        " comment, add an empty line or comment between the instruction and the comment."
    ),
    message="Comment for {} should follow the format: `# {} <description>`",
    url=_DOCKER + "invalid-definition-description/",
    bad=(
        "# check=experimental=InvalidDefinitionDescription\n"
        "FROM scratch\n# the version to build\nARG VERSION=1"
    ),
    good=(
        "# check=experimental=InvalidDefinitionDescription\n"
        "FROM scratch\n# VERSION is what to build\nARG VERSION=1"
    ),
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    name="ExposeProtoCasing",
    description="Protocol in EXPOSE instruction should be lowercase",
    message="Defined protocol '{}' in EXPOSE instruction should be lowercase",
    url=_DOCKER + "expose-proto-casing/",
    bad="FROM scratch\nEXPOSE 80/TCP",
    good="FROM scratch\nEXPOSE 80/tcp",
)
EXPOSE_INVALID_FORMAT = Rule(
    name="ExposeInvalidFormat",
    description=(
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will"
        " become an error in a future release"
    ),
    message=("EXPOSE instruction should not define an IP address or host-port mapping, found '{}'"),
    url=_DOCKER + "expose-invalid-format/",
    bad="FROM scratch\nEXPOSE 8080:80",
    good="FROM scratch\nEXPOSE 80",
)
FINAL_USER_ROOT = Rule(
    name="FinalUserRoot",
    description="Images that run something should not run it as root",
    message=(
        "The image runs as {}: end the last stage with USER and an unprivileged user,"
        " for example USER 65532:65532"
    ),
    bad='FROM scratch\nCOPY app /app\nENTRYPOINT ["/app"]',
    good='FROM scratch\nCOPY app /app\nUSER 65532:65532\nENTRYPOINT ["/app"]',
    advice=True,
)

RULES = (
    STAGE_NAME_CASING,
    FROM_AS_CASING,
    NO_EMPTY_CONTINUATION,
    CONSISTENT_INSTRUCTION_CASING,
    DUPLICATE_STAGE_NAME,
    RESERVED_STAGE_NAME,
    JSON_ARGS_RECOMMENDED,
    MAINTAINER_DEPRECATED,
    UNDEFINED_ARG_IN_FROM,
    WORKDIR_RELATIVE_PATH,
    UNDEFINED_VAR,
    MULTIPLE_INSTRUCTIONS_DISALLOWED,
    LEGACY_KEY_VALUE_FORMAT,
    INVALID_BASE_IMAGE_PLATFORM,
    REDUNDANT_TARGET_PLATFORM,
    SECRETS_USED_IN_ARG_OR_ENV,
    INVALID_DEFAULT_ARG_IN_FROM,
    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    COPY_IGNORED_FILE,
    INVALID_DEFINITION_DESCRIPTION,
    EXPOSE_PROTO_CASING,
    EXPOSE_INVALID_FORMAT,
    FINAL_USER_ROOT,
)
