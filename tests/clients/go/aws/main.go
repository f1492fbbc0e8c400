// The AWS SDK for Go v2, with its transfer manager.
package main

import (
	"context"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"tokenvend-clients/lines"
)

var bucket = os.Getenv("BUCKET")

type store struct{ s3 *s3.Client }

func main() {
	lines.Serve("github.com/aws/aws-sdk-go-v2/service/s3", func() (lines.Store, error) {
		loaded, err := config.LoadDefaultConfig(context.Background())
		return store{s3.NewFromConfig(loaded, func(o *s3.Options) { o.UsePathStyle = true })}, err
	})
}

func (s store) Up(file, key string) error {
	body, err := os.Open(file)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = manager.NewUploader(s.s3).Upload(context.Background(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body})
	return err
}

func (s store) Names(prefix string) ([]string, error) {
	listed, err := s.s3.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, entry := range listed.Contents {
		names = append(names, *entry.Key)
	}
	return names, nil
}

func (s store) Down(key, file string) error {
	body, err := os.Create(file)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = manager.NewDownloader(s.s3).Download(context.Background(), body, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	return err
}

func (s store) Move(key, to string) error {
	source := (&url.URL{Path: bucket + "/" + key}).EscapedPath()
	_, err := s.s3.CopyObject(context.Background(), &s3.CopyObjectInput{Bucket: &bucket, Key: &to, CopySource: &source})
	if err != nil {
		return err
	}
	return s.Remove(key)
}

func (s store) Remove(key string) error {
	_, err := s.s3.DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	return err
}
