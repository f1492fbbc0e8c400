"""What web pages may read of S3. It imports nothing, for the engine is started where settings are not read."""

EXPOSED_HEADERS = (
    *("ETag", "Date", "Accept-Ranges", "Content-Range", "Content-Disposition", "Content-Encoding"),
    *("x-amz-version-id", "x-amz-delete-marker", "x-amz-request-id", "x-amz-id-2"),
    *("x-amz-checksum-algorithm", "x-amz-checksum-type"),
    *("x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme"),
    *("x-amz-checksum-md5", "x-amz-checksum-sha1", "x-amz-checksum-sha256", "x-amz-checksum-sha512"),
    *("x-amz-checksum-xxhash3", "x-amz-checksum-xxhash64", "x-amz-checksum-xxhash128"),
)
"""What the bucket's CORS rules let pages read of S3's answers: S3 takes no wildcard there. AWS's SDK completes an
upload with the checksum of each part, and corrects its clock by the date."""
