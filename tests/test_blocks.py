"""Every block of code in a document, and every target of make: which test runs it, or why none does.

Whoever adds a block or a target adds a line here.
"""

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.documents import DOCUMENTS, ROOT, blocks, name


class Run(NamedTuple):
    """A test runs it as it stands, but for names, addresses and ports of its own."""

    by: str


class StandIn(NamedTuple):
    """A test runs it, or what it holds, with a stand-in for something that no test has."""

    by: str
    instead_of: str


class NotRun(NamedTuple):
    why: str
    read_by: str | None = None
    """The test that compares it with what it names."""


How = Run | StandIn | NotRun

COMPILED = "no machine of the tests has the platform's SDK"
ACCOUNT = "it makes and pays for resources of an account"

DEFINED = re.compile(r"^(    )?(class|def) (\w+)", re.MULTILINE)

BLOCKS: dict[str, dict[str, How]] = {
    "README.md": {
        "make run": Run("TestTwoCommands::test_make_run_serves_the_sample_app"),
        "make test": Run("TestTwoCommands::test_make_test_runs_the_tests"),
        "/v1\njson=": Run("test_five_calls_put_a_picture_into_the_bucket"),
    },
    "docs/try.md": {
        "dev --doctor": Run("TestDoctor::test_finds_what_runs_and_proves_its_isolation"),
        "ready http": Run("TestStartPage::test_has_every_line_of_the_banner"),
    },
    "docs/app/calls.md": {
        '"credential_id"': NotRun("an answer", "test_answers_have_the_members_of_their_model"),
    },
    "docs/app/downloads.md": {
        '"items"': NotRun("an answer", "test_answers_have_the_members_of_their_model"),
        "encodeURIComponent": Run("TestDocument::test_makes_the_urls_that_the_edge_takes"),
    },
    "docs/app/recipes.md": {
        "uppyWithCredentials": Run("TestUppyWithCredentials::test_uploads_whole_and_in_parts"),
        "uppyWithTickets": StandIn("TestUppyWithTickets::test_uploads_without_keys", "AWS"),
        "react-native-url-polyfill": StandIn("test_react_native_puts_and_gets", "a device"),
        "no_check_bucket": Run("test_rclone_mounts_the_folder_and_renews_its_keys"),
        "rclone mount": Run("test_rclone_mounts_the_folder_and_renews_its_keys"),
        "restic init": Run("test_restic_backs_up_and_restores_through_rclone"),
    },
    "docs/app/shell.md": {
        "tokenvend login": Run("TestDocuments::test_sign_in_and_list"),
        "credential_process": Run("TestDocuments::test_a_profile_has_credentials"),
        "no_check_bucket": Run("TestDocuments::test_rclone_uses_the_profile"),
        "--token-file": Run("TestDocuments::test_a_token_file_is_kept"),
        "creds --serve": Run("TestDocuments::test_an_agent_answers"),
    },
    "docs/app/uploads.md": {
        "multipart/form-data": NotRun("only AWS takes such forms", "TestForm::test_has_each_field_in_its_policy"),
    },
    "docs/app/why-refused.md": {
        '"allowed"': NotRun("an answer", "test_answers_have_the_members_of_their_model"),
    },
    "docs/operate/administration.md": {
        "make admin": Run("TestTwoCommands::test_make_run_serves_the_sample_app"),
        "CREATE EXTENSION": Run("TestTrigrams::test_may_be_made_later"),
    },
    "docs/operate/cdn.md": {
        "photos-cdn": NotRun(ACCOUNT, "TestGuide::test_names_parameters_and_outputs_that_there_are"),
    },
    "docs/operate/events-out.md": {
        "TOKENVEND_WEBHOOK_URL=": Run("TestGuidesReceiver::test_line_makes_a_secret"),
        '"sequence"': NotRun("an event", "TestGuidesReceiver::test_example_has_the_members_of_a_sign_in"),
        "def application": Run("TestGuidesReceiver::test_takes_what_this_service_signs"),
    },
    "docs/operate/aws.md": {
        "pip install": NotRun("it installs into /opt", "TestLocks::test_every_install_asks_for_hashes"),
        "tokenvend serve": StandIn("TestByHand::test_settings_are_taken_and_commands_are_ones", "the service"),
    },
    "docs/operate/rotate-secrets.md": {
        "secret_key.new": Run("TestRotation::test_makes_a_key_once_that_the_service_takes"),
    },
    "docs/operate/sign-in.md": {
        '"apple"': Run("TestOidcProviders::test_takes_the_ones_of_the_documents"),
        '"microsoft"': Run("TestOidcProviders::test_takes_the_ones_of_the_documents"),
    },
    "deploy/README.md": {
        "docker build -f": NotRun(
            "no machine of the tests has Docker",
            "TestDockerfile::test_copies_what_the_context_lets_in",
        ),
        "up --build": NotRun(
            "no machine of the tests has Docker",
            "TestCompose::test_passes_every_setting_on",
        ),
        "exec service-a": NotRun(
            "no machine of the tests has Docker",
            "TestRunbook::test_every_command_is_one",
        ),
        "# 1. The image": NotRun(ACCOUNT, "TestCommands::test_name_parameters_that_there_are"),
        "run sh -c": NotRun(ACCOUNT, "TestCommands::test_migrate_twice_then_an_administrator_then_keys"),
        'MigrationImage="$(image': NotRun(ACCOUNT, "TestCommands::test_name_parameters_that_there_are"),
        "photos-web-identity": NotRun(ACCOUNT, "TestCommands::test_name_parameters_that_there_are"),
        "photos-saml": NotRun(ACCOUNT, "TestCommands::test_name_parameters_that_there_are"),
        "create namespace": NotRun(
            "no machine of the tests has a cluster",
            "TestKubernetes::test_the_migration_comes_first_with_all_that_it_reads",
        ),
        "delete job": NotRun(
            "no machine of the tests has a cluster",
            "TestKubernetes::test_the_migration_comes_first_with_all_that_it_reads",
        ),
        "scrape_configs": NotRun(
            "no machine of the tests has a Prometheus to scrape with",
            "TestExpressions::test_of_alerts_ask_for_jobs_that_the_guide_scrapes",
        ),
    },
    "deploy/RUNBOOK.md": {
        "stack() {": StandIn("TestFunctions::test_a_task_is_waited_for_and_shown", "AWS"),
        "deny-all": StandIn("TestFunctions::test_a_denial_is_a_policy_of_the_role", "AWS"),
        "deny-leaked": StandIn("TestFunctions::test_a_denial_is_a_policy_of_the_role", "AWS"),
        "keys show --purpose cdn": NotRun("each of its lines is read", "TestRunbook::test_every_command_is_one"),
        "update-saml-provider": NotRun(ACCOUNT, "TestRunbook::test_every_command_is_one"),
        "then upload the metadata\ntokenvend keys list": NotRun(
            "each of its lines is read", "TestRunbook::test_every_command_is_one"
        ),
        "tokenvend sts access-key": NotRun("it asks STS", "TestRunbook::test_every_command_is_one"),
        "tokenvend keys rotate --now": NotRun("each of its lines is read", "TestRunbook::test_every_command_is_one"),
        "UPDATE sessions": Run("TestMassSignOut::test_ends_all_but_guests"),
    },
    "deploy/imports/README.md": {
        "--dry-run": Run("TestCommands::test_the_guides_lines_import"),
        "--prehash": Run("TestCommands::test_the_guides_lines_import_with_a_prehash"),
        "curl -sT": NotRun(
            "it wants an administrator's token",
            "test_a_broken_upload_goes_on_and_each_row_is_there_once",
        ),
        "list-users": NotRun("it asks Cognito", "TestSamples::test_are_read_however_they_come"),
        "dumpdata": NotRun("it wants an app of Django's", "TestSamples::test_are_read_however_they_come"),
        "kc.sh": NotRun("it wants Keycloak", "TestSamples::test_are_read_however_they_come"),
        "mongoexport": NotRun("it wants MongoDB", "TestSamples::test_are_read_however_they_come"),
        'u."emailVerified"': Run("TestBetterAuth::test_the_guides_query_gives_our_columns"),
        "sqlite3 -header": NotRun("it wants a database", "TestBetterAuth::test_the_guides_query_gives_our_columns"),
        "email_verified_at IS NOT NULL AS": Run("TestOwnTable::test_the_guides_query_gives_our_columns"),
        "JSON_OBJECT": StandIn("TestOwnTable::test_the_guides_json_gives_them_too", "MySQL"),
        "TOKENVEND_COGNITO_CLIENT_ID": NotRun(
            "it has no value", "TestFirstSignIn::test_an_app_client_may_have_a_secret"
        ),
        "TOKENVEND_FIREBASE_HASH_CONFIG": NotRun(
            "the parameters are a project's own",
            "TestSources::test_each_sample_is_imported_and_signed_in_to",
        ),
        "TOKENVEND_MIGRATION_URL=": NotRun("it sets variables", "TestSignature::test_is_what_the_guides_line_makes"),
        "def application": StandIn("TestGuide::test_its_endpoint_answers_this_service_alone", "a WSGI server"),
        "signInWithPassword": StandIn("TestGuide::test_firebase_is_asked", "Firebase"),
        "admin_initiate_auth": StandIn("TestRecipe::test_asks_cognito_with_permissions_alone", "AWS"),
        "pg_dump": NotRun(
            "it wants a database of Supabase's",
            "TestSamples::test_a_supabase_dump_says_what_its_csv_says",
        ),
    },
    "deploy/sdk/README.md": {
        "import android.os.Build": Run("TestUpload::test_in_kotlin"),
        "import AWSS3": NotRun(COMPILED, "test_is_well_formed"),
        "package:aws_common": NotRun(COMPILED, "test_is_well_formed"),
        "import { registerUser }": Run("TestUpload::test_in_typescript"),
        "import register_user": Run("TestUpload::test_in_python"),
        "def upload_film": Run("TestUpload::test_in_parts_in_python"),
        "function uploadFilm": Run("TestUpload::test_in_typescript"),
        "import accept_grant": Run("TestSharing::test_in_python"),
        "import { acceptGrant": Run("TestSharing::test_in_typescript"),
    },
}
"""By document, and by a text that stands in one block of it alone."""

TARGETS: dict[str, How] = {
    "help": Run("test_make_alone_lists_the_targets"),
    "install": Run("TestTwoCommands::test_make_run_serves_the_sample_app"),
    "run": Run("TestTwoCommands::test_make_run_serves_the_sample_app"),
    "admin": Run("TestTwoCommands::test_make_run_serves_the_sample_app"),
    "clean": Run("TestTwoCommands::test_make_clean_leaves_what_the_clone_had_and_the_data"),
    "test": Run("TestTwoCommands::test_make_test_runs_the_tests"),
    "test-all": Run(".ci/run"),
    "test-long": NotRun(
        "it takes long, and writes into the tree", "TestTable::test_has_what_a_run_gave_and_the_rows_of_before"
    ),
    "clients": NotRun(
        "it takes minutes, and writes into the tree; `test-all` runs some of its tests",
        "test_a_client_does_what_its_row_says",
    ),
    "chaos": NotRun("`test-all` runs a slice of its tests", "TestReplicas::test_a_rolling_restart_refuses_nobody"),
    "check": Run(".ci/run"),
    "deploy-check": Run(".ci/run"),
    "docs": Run(".ci/run"),
    "sdk": Run(".ci/run"),
    "sdk-test": NotRun("`test-all` runs its tests", "TestUpload::test_in_python"),
    "docs-serve": NotRun("it serves what `docs` builds, by Python's own server"),
    "docs-reference": NotRun("it writes into the tree", "TestReference::test_is_what_the_code_says"),
    "openapi": NotRun("it writes into the tree", "test_is_the_one_that_is_committed"),
    "sbom": NotRun(
        "it writes into the tree",
        "TestBillOfMaterials::test_has_each_package_of_the_lock_with_its_hashes",
    ),
    "wheel": Run("TestTwoCommands::test_make_wheel_builds_a_package"),
    "format": NotRun("it changes files; `check` says where it would"),
    "bench": NotRun("it takes long, and its floors want a quiet machine", "test_an_earlier_build_is_measured_in_turn"),
    "bench-large": NotRun("it takes an hour; `bench` does the same with fewer users"),
    "storm": NotRun("it takes six minutes", "TestAttack::test_others_keep_their_credential_and_are_not_refused"),
    "release": NotRun("it changes files, and once only", "TestRelease::test_says_its_version_everywhere"),
    "audit": NotRun("it asks a registry", "TestAdvisories::test_the_audit_takes_the_waivers_of_the_document"),
    "lock": NotRun(
        "it asks a registry, and changes what is locked",
        "TestLocks::test_pin_and_hash_every_package_and_name_no_registry",
    ),
}


def told() -> list[tuple[str, How]]:
    listed = [(f"{document}: {text}", how) for document, texts in BLOCKS.items() for text, how in texts.items()]
    return listed + [(f"make {target}", how) for target, how in TARGETS.items()]


@functools.cache
def defined() -> set[str]:
    """Every function and method of the tests, as pytest names them, without the file: tests move."""
    found = set()
    for file in (ROOT / "tests").rglob("*.py"):
        if "node_modules" not in file.parts:
            holder = ""
            for indent, kind, called in DEFINED.findall(file.read_text(encoding="utf-8")):
                if kind == "class":
                    holder = called
                else:
                    found.add(f"{holder}::{called}" if indent else called)
    return found


class TestTable:
    @pytest.mark.parametrize("document", DOCUMENTS, ids=name)
    def test_has_every_block(self, document: Path) -> None:
        listed = BLOCKS.get(name(document), {})
        named = [block for block in blocks(document) if block.language]
        for block in named:
            assert len([text for text in listed if text in block.code]) == 1, block.code
        for text in listed:
            assert len([block for block in named if text in block.code]) == 1, text

    def test_has_every_target_of_make(self) -> None:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert set(TARGETS) == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))

    def test_has_no_document_that_is_gone(self) -> None:
        assert BLOCKS.keys() <= set(map(name, DOCUMENTS))

    @pytest.mark.parametrize(("what", "how"), told())
    def test_names_tests_that_there_are(self, what: str, how: How) -> None:
        test = how.read_by if isinstance(how, NotRun) else how.by
        if test == ".ci/run":
            assert what.removeprefix("make ") in commands_of_ci()
        else:
            assert test is None or test in defined()


def commands_of_ci() -> set[str]:
    """What it gives to make, and all that this needs first."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    needs = {
        target: set(rest.split()) for target, rest in re.findall(r"^([\w./-]+): ([^#\n]*)", makefile, re.MULTILINE)
    }
    given = re.findall(r"^[^#\n]*\bmake (.+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    wanted: set[str] = set()
    left = {word for line in given for word in line.split()}
    while left:
        wanted |= left
        left = {needed for target in left for needed in needs.get(target, ())} - wanted
    return wanted


@pytest.mark.parametrize(
    "page", ["README.md", "docs/try.md", *(f"docs/app/{name}" for name in ("calls.md", "shell.md"))]
)
def test_commands_work_as_pasted_in_a_clone(page: str) -> None:
    """`make run` puts `tokenvend` on nobody's path."""
    on_path = False
    for line in (line for block in blocks(ROOT / page) for line in block.code.splitlines()):
        on_path = on_path or line == 'export PATH="$PWD/.venv/bin:$PATH"'
        assert on_path or not re.search(r"(^|\$\()tokenvend ", line), line


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("docs/app/calls.md", "Credentials"),
        ("docs/app/why-refused.md", "AccessCheck"),
        ("docs/app/downloads.md", "Downloads"),
    ],
)
def test_answers_have_the_members_of_their_model(page: str, model: str) -> None:
    (answer,) = [block.code for block in blocks(ROOT / page) if block.language == "json"]
    document = json.loads((ROOT / "deploy" / "sdk" / "openapi.json").read_text(encoding="utf-8"))
    assert json.loads(answer).keys() == document["components"]["schemas"][model]["properties"].keys()


def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^make ([a-z-]+) ", listed, re.MULTILINE)) == TARGETS.keys()
