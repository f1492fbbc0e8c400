// The minio-go package, with the chain of credentials that its guide shows.
package main

import (
	"context"
	"net/url"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"tokenvend-clients/lines"
)

var bucket, ctx = os.Getenv("BUCKET"), context.Background()

type store struct{ s3 *minio.Client }

func main() {
	lines.Serve("github.com/minio/minio-go/v7", func() (lines.Store, error) {
		at, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL_S3"))
		if err != nil {
			return nil, err
		}
		s3, err := minio.New(at.Host, &minio.Options{
			Secure: at.Scheme == "https",
			Region: os.Getenv("AWS_REGION"),
			Creds: credentials.NewChainCredentials([]credentials.Provider{
				&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
			}),
		})
		return store{s3}, err
	})
}

func (s store) Up(file, key string) error {
	_, err := s.s3.FPutObject(ctx, bucket, key, file, minio.PutObjectOptions{})
	return err
}

func (s store) Names(prefix string) ([]string, error) {
	names := []string{}
	for entry := range s.s3.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if entry.Err != nil {
			return nil, entry.Err
		}
		names = append(names, entry.Key)
	}
	return names, nil
}

func (s store) Down(key, file string) error {
	return s.s3.FGetObject(ctx, bucket, key, file, minio.GetObjectOptions{})
}

func (s store) Move(key, to string) error {
	source, target := minio.CopySrcOptions{Bucket: bucket, Object: key}, minio.CopyDestOptions{Bucket: bucket, Object: to}
	if _, err := s.s3.CopyObject(ctx, target, source); err != nil {
		return err
	}
	return s.Remove(key)
}

func (s store) Remove(key string) error {
	return s.s3.RemoveObject(ctx, bucket, key, minio.RemoveObjectOptions{})
}
