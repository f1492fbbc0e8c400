import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.sync.ResponseTransformer;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.S3Object;

/** The AWS SDK for Java 2, and the other end of `driving.Lines`: an act a line, as a JSON array, and an answer a line. */
public final class Client {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String BUCKET = System.getenv("BUCKET");
  private static S3Client s3;

  public static void main(String[] arguments) throws Exception {
    say(Map.of("version", VersionInfo.SDK_VERSION));
    var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = input.readLine()) != null; ) {
      try {
        say(Map.of("done", act(JSON.readValue(line, String[].class))));
      } catch (Exception failure) {
        say(Map.of("says", failure.getClass().getSimpleName() + ": " + failure.getMessage()));
      }
    }
  }

  private static List<String> act(String[] act) throws Exception {
    if (s3 == null) {
      s3 = S3Client.builder().forcePathStyle(true).build();
    }
    switch (act[0]) {
      case "up" -> s3.putObject(put -> put.bucket(BUCKET).key(act[2]), RequestBody.fromFile(Path.of(act[1])));
      case "names" -> {
        var listed = s3.listObjectsV2(list -> list.bucket(BUCKET).prefix(act[1]));
        return listed.contents().stream().map(S3Object::key).toList();
      }
      case "down" -> {
        Files.deleteIfExists(Path.of(act[2]));
        s3.getObject(get -> get.bucket(BUCKET).key(act[1]), ResponseTransformer.toFile(Path.of(act[2])));
      }
      case "move" -> {
        s3.copyObject(copy -> copy.sourceBucket(BUCKET).sourceKey(act[1]).destinationBucket(BUCKET).destinationKey(act[2]));
        s3.deleteObject(delete -> delete.bucket(BUCKET).key(act[1]));
      }
      case "remove" -> s3.deleteObject(delete -> delete.bucket(BUCKET).key(act[1]));
      default -> throw new IllegalArgumentException(act[0]);
    }
    return List.of();
  }

  private static void say(Map<String, ?> answer) throws Exception {
    System.out.println("= " + JSON.writeValueAsString(answer));
    System.out.flush();
  }
}
