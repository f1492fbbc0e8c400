#!/usr/bin/env bash
# aws.sdk.kotlin:s3 1.8.9 on a JVM (17), with Android's stub classes on the class path, as local unit tests of an app have them.
# Expected: an S3Client is made; the stubs belong to the compiler, and nothing on a JVM is Android.
# Seen: one class of that name is enough. `S3Client { … }` throws: the SDK takes the JVM for a phone, reads its version by
# reflection, and casts what it finds there (null in the stubs) to a string. Without the stubs the same call works.
# So: run such tests without android.jar, or keep the client behind an interface. Neither its type nor its text names the cause.
# Needs Maven, and a JDK of 11 or newer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >pom.xml <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>aws.sdk.kotlin</groupId><artifactId>s3-jvm</artifactId><version>1.8.9</version></dependency>
  </dependencies>
</project>
POM
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory=jars
mkdir -p android/os stubs
cat >android/os/Build.java <<'JAVA'
package android.os;
public class Build {
    public static class VERSION {
        public static final String RELEASE = null;
        public static final int SDK_INT = 0;
    }
}
JAVA
javac -d stubs android/os/Build.java
cat >Make.java <<'JAVA'
import aws.sdk.kotlin.services.s3.S3Client;
public class Make {
    public static void main(String[] arguments) {
        S3Client.Companion.invoke(config -> { config.setRegion("us-east-1"); return kotlin.Unit.INSTANCE; });
        System.out.println("an S3Client");
        System.exit(0);
    }
}
JAVA
without=$(java -cp 'jars/*' Make.java 2>/dev/null)
with=$(java -cp 'jars/*:stubs' Make.java 2>&1 | grep -m1 -o 'NullPointerException.*' || true)
echo "without the stubs: $without"
echo "with them: $with"
[ "$without" = "an S3Client" ] && [ -n "$with" ]
