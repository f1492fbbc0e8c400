"""`python finish.py FOLDER` amends what the generators wrote, and says so where they no longer write it."""

import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])


def amend(path: str, old: str, new: str) -> None:
    file = FOLDER / path
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    file.write_text(text.replace(old, new), encoding="utf-8")


# These write some marks in comments as HTML.
for suffix in ("kt", "swift", "dart"):
    texts = {file: file.read_text(encoding="utf-8") for file in FOLDER.rglob(f"*.{suffix}")}
    assert any("&#x60;" in text for text in texts.values()), f"no comment in *.{suffix} has a mark as HTML"
    for file, text in texts.items():
        file.write_text(text.replace("&#x60;", "`").replace("&#39;", "'").replace("&#x3D;", "="), encoding="utf-8")
# Kotlin would send what was left out as null, which is no value of most members.
defaults = "encodeDefaults = true"
amend(
    "kotlin/src/main/kotlin/tokenvend/infrastructure/Serializer.kt",
    defaults,
    f"{defaults}\n            explicitNulls = false",
)
# What the helpers stand on; apps see the types of OkHttp and of AWS's SDK in them. The range begins with the version
# that tests/sdk/kotlin/pom.xml names, and ends before the next that may break what it has.
okhttp = '"com.squareup.okhttp3:okhttp:'
amend("kotlin/build.gradle", "apply plugin: 'kotlin'\n", "apply plugin: 'java-library'\napply plugin: 'kotlin'\n")
amend("kotlin/build.gradle", f"implementation {okhttp}", f'api "aws.sdk.kotlin:s3:[1.8.9,1.9)"\n    api {okhttp}')
amend("dart/pubspec.yaml", "\n  dio:", "\n  aws_common: '^0.7.0'\n  aws_signature_v4: '^0.6.0'\n  dio:")
amend("dart/pubspec.yaml", "homepage: homepage\n", "")
amend("python/pyproject.toml", '    "attrs>=', '    "boto3>=1.44",\n    "attrs>=')
