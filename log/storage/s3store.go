package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"cratelog/internal/durable"
)

// store is a bucket. Tessera's driver makes a client of its own from config and options, so what holds for ours
// holds for its requests: they end by a deadline, what they read is bounded, and the fence is asked.
type store struct {
	bucket   string
	deadline time.Duration // of a request with its retries, and with the reading of what it returns
	fence    func() error
	http     *http.Transport
	config   aws.Config
	client   *s3.Client

	endpoint  string
	pathStyle bool
}

func newStore(ctx context.Context, cfg S3) (*store, error) {
	s := &store{bucket: cfg.Bucket, deadline: cfg.AddDeadline, fence: cfg.Fence, endpoint: cfg.Endpoint,
		pathStyle: cfg.PathStyle}
	switch {
	case cfg.Bucket == "":
		return nil, errors.New("the tree's bucket has no name")
	case (cfg.AccessKey == "") != (cfg.SecretKey == ""):
		return nil, errors.New("the store's credentials are an access key and a secret key: one is missing")
	}
	// What the SDK would log is in its errors.
	options := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})}
	// With credentials the metadata service of a cloud is never asked for others.
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	var err error
	if s.config, err = config.LoadDefaultConfig(ctx, options...); err != nil {
		return nil, fmt.Errorf("the settings of the store: %w", err)
	}
	if s.config.Region == "" {
		s.config.Region = "us-east-1"
	}
	if cfg.AccessKey == "" {
		s.config.Credentials = aws.NewCredentialsCache(found{s.config.Credentials})
	}
	base, ok := s.config.HTTPClient.(*awshttp.BuildableClient) // which knows the authorities of the environment
	if !ok {
		base = awshttp.NewBuildableClient()
	}
	s.http = base.GetTransport()
	s.http.MaxIdleConnsPerHost = 64 // Tessera writes all tiles of a batch at once
	s.config.HTTPClient = bounded{&http.Client{Transport: s.http,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	s.client = s3.NewFromConfig(s.config, s.options)
	return s, nil
}

// errNoCredentials is not the store's answer, though what says it may look like one.
var errNoCredentials = errors.New("the environment of this process gives no credentials for the store: name a file with " +
	"them in credentials_file")

// found are the credentials that the SDK finds.
type found struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (f found) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := f.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = fmt.Errorf("%w: %w", errNoCredentials, err)
	}
	return c, err
}

func (s *store) options(o *s3.Options) {
	if s.endpoint != "" {
		o.BaseEndpoint = aws.String(s.endpoint)
	}
	o.UsePathStyle = s.pathStyle
	// Stores of others do not know the SDK's newer checksums.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 3
		o.MaxBackoff = s.deadline / 10
		o.RateLimiter = ratelimit.None // each request has its deadline
	})
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("cratelogRequest", s.request), middleware.Before)
		if err != nil {
			return err
		}
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("cratelogFence", s.fenced), "Retry", middleware.After)
	})
}

// request is around each request with its retries.
func (s *store) request(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, meta middleware.Metadata, err error) {
	if d, ok := in.Parameters.(*s3.DeleteObjectsInput); ok && (d.Delete == nil || len(d.Delete.Objects) == 0) {
		// Tessera asks for it where a bundle has had no partial files, stores refuse it, and then it would never
		// remove anything again (its issue 1179).
		out.Result = &s3.DeleteObjectsOutput{}
		return out, meta, nil
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, limit{}, most(in.Parameters)), s.deadline)
	out, meta, err = next.HandleInitialize(ctx, in)
	if get, ok := out.Result.(*s3.GetObjectOutput); ok && err == nil {
		get.Body = &body{get.Body, cancel}
		return out, meta, nil
	}
	cancel()
	if list, ok := out.Result.(*s3.ListObjectsV2Output); ok && err == nil {
		err = listed(in.Parameters.(*s3.ListObjectsV2Input), list)
	}
	return out, meta, s.explained(err)
}

// body ends its request's deadline when it is closed.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *body) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// listed refuses a list that is not what was asked for: Tessera removes whatever stands there.
func listed(in *s3.ListObjectsV2Input, out *s3.ListObjectsV2Output) error {
	for _, o := range out.Contents {
		if o.Key == nil || !strings.HasPrefix(*o.Key, aws.ToString(in.Prefix)) {
			return errors.New("the store lists objects that it was not asked for")
		}
	}
	return nil
}

// fenced is around each attempt.
func (s *store) fenced(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, meta middleware.Metadata, err error) {
	r, ok := in.Request.(*smithyhttp.Request)
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := s.fence(); err != nil {
			return out, meta, fmt.Errorf("nothing is written to the bucket: %w", err)
		}
	}
	return next.HandleFinalize(ctx, in)
}

// limit is the key of the bytes that are read of an answer, in the context of its request.
type limit struct{}

const (
	maxFile  = 1 << 20   // beside tiles and entries, and of an answer that has no file
	maxList  = 8 << 20   // of a list of 1000 objects
	maxError = 128 << 10 // of an answer that says why there is none
)

func most(parameters any) int64 {
	switch in := parameters.(type) {
	case *s3.GetObjectInput:
		switch key := aws.ToString(in.Key); {
		case strings.HasPrefix(key, "tile/entries/"):
			return maxBundle
		case strings.HasPrefix(key, "tile/"):
			return maxTile
		}
	case *s3.ListObjectsV2Input:
		return maxList
	}
	return maxFile
}

// bounded reads no more of an answer than its request can have.
type bounded struct{ aws.HTTPClient }

func (b bounded) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.HTTPClient.Do(r)
	if err != nil {
		return nil, err
	}
	n, ok := r.Context().Value(limit{}).(int64)
	if !ok || resp.StatusCode >= http.StatusMultipleChoices {
		n = maxError
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, n)
	return resp, nil
}

// explained says what an operator can do about an answer of the store. That a file is missing is fs.ErrNotExist
// besides what Tessera takes for it.
func (s *store) explained(err error) error {
	if err == nil {
		return nil
	}
	var answer interface{ HTTPStatusCode() int }
	status, code := 0, ""
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	if api := smithy.APIError(nil); errors.As(err, &api) {
		code = api.ErrorCode()
	}
	hint := ""
	switch {
	case errors.Is(err, errNoCredentials):
		return fmt.Errorf("the bucket %s: %w", s.bucket, err)
	case code == "NoSuchBucket":
		hint = "there is no such bucket: make it first, empty, for this log alone"
	case code == "RequestTimeTooSkewed":
		hint = "the clock of this machine or that of the store is wrong: set it"
	case code == "SignatureDoesNotMatch" || code == "InvalidAccessKeyId":
		hint = "the store does not know the credentials; or the clock of this machine is wrong"
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case status == http.StatusForbidden:
		hint = "the credentials must be allowed to get, put, delete and list (ListBucket): without the last a file " +
			"that is missing looks forbidden"
	case code == "SlowDown" || status == http.StatusServiceUnavailable:
		hint = "the store is busy"
	case errors.Is(err, context.DeadlineExceeded):
		hint = fmt.Sprintf("the store has not answered within %v", s.deadline)
	default:
		return fmt.Errorf("the bucket %s: %w", s.bucket, err)
	}
	return fmt.Errorf("the bucket %s: %s: %w", s.bucket, hint, err)
}

func (s *store) get(ctx context.Context, name string, most int64) ([]byte, time.Time, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &name})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", name, err)
	}
	defer out.Body.Close()
	data, err := durable.ReadAll(out.Body, most)
	if x := (*http.MaxBytesError)(nil); errors.As(err, &x) {
		err = fmt.Errorf("more than %d bytes, %w", x.Limit, durable.ErrTooLarge)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("the bucket %s: %s: %w", s.bucket, name, err)
	}
	return data, aws.ToTime(out.LastModified), nil
}

// put writes an object, with the headers of Tessera's driver; if it is to be new, only where there is none.
func (s *store) put(ctx context.Context, name string, data []byte, isNew bool) error {
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &name, Body: bytes.NewReader(data),
		ContentType: aws.String("text/plain; charset=utf-8"), CacheControl: aws.String("no-cache")}
	if strings.HasPrefix(name, "tile/") {
		in.ContentType, in.CacheControl = aws.String("application/octet-stream"), aws.String("max-age=604800,immutable")
	}
	if isNew {
		in.IfNoneMatch = aws.String("*")
	}
	if _, err := s.client.PutObject(ctx, in); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// remove removes objects, as Tessera's driver does, so that no other permission is needed.
func (s *store) remove(ctx context.Context, names ...string) error {
	in := &s3.DeleteObjectsInput{Bucket: &s.bucket, Delete: &types.Delete{}}
	for _, name := range names {
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: &name})
	}
	out, err := s.client.DeleteObjects(ctx, in)
	if err != nil {
		return err
	}
	for _, e := range out.Errors {
		if aws.ToString(e.Code) != "NoSuchKey" {
			return fmt.Errorf("the bucket %s: %s is not removed: %s %s", s.bucket, aws.ToString(e.Key), aws.ToString(e.Code),
				aws.ToString(e.Message))
		}
	}
	return nil
}

// list returns the first names with a prefix.
func (s *store) list(ctx context.Context, prefix string) (names []string, err error) {
	out, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix})
	if err != nil {
		return nil, err
	}
	for _, o := range out.Contents {
		names = append(names, *o.Key)
	}
	return names, nil
}

// ping asks for the checkpoint, once. That there is none is an answer.
func (s *store) ping(ctx context.Context) error {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(Checkpoint)},
		func(o *s3.Options) { o.RetryMaxAttempts = 1 })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return out.Body.Close()
}

// scratchDir is of names that no tree has: what is tried stands there for a moment.
const scratchDir = "cratelog-try/"

func scratch() string { return scratchDir + rand.Text() }

// check makes sure that the store does what a tree relies on. Whoever calls it may write; it clears away what an
// earlier check left.
func (s *store) check(ctx context.Context) error {
	left, err := s.list(ctx, scratchDir)
	if err == nil {
		err = s.remove(ctx, left...)
	}
	if err != nil {
		return err
	}
	name, first, second := scratch(), []byte("first\n"), []byte("second\n")
	if err := s.put(ctx, name, first, true); err != nil {
		return err
	}
	err = s.overwrites(ctx, name, first, second)
	return errors.Join(err, s.removes(ctx, name))
}

// overwrites returns an error if an object can be overwritten that must be new.
func (s *store) overwrites(ctx context.Context, name string, first, second []byte) error {
	const advice = "the bucket %s: its store does not refuse to overwrite an object where If-None-Match: * is asked " +
		"for, which alone keeps a tree from being overwritten: take another store"
	var refused smithy.APIError
	switch err := s.put(ctx, name, second, true); {
	case err == nil:
		return fmt.Errorf(advice, s.bucket)
	case !errors.As(err, &refused) || refused.ErrorCode() != "PreconditionFailed":
		return err
	}
	data, _, err := s.get(ctx, name, maxFile)
	if err == nil && !bytes.Equal(data, first) {
		err = fmt.Errorf(advice, s.bucket)
	}
	if err != nil {
		return err
	}
	names, err := s.list(ctx, name)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("the bucket %s: its store lists %d objects where one was written", s.bucket, len(names))
	}
	return err
}

// removes removes an object, and returns an error unless it is missing then, as Tessera wants to be told.
func (s *store) removes(ctx context.Context, name string) error {
	if err := s.remove(ctx, name); err != nil {
		return err
	}
	var missing *types.NoSuchKey
	if _, _, err := s.get(ctx, name, maxFile); !errors.As(err, &missing) {
		return fmt.Errorf("the bucket %s: its store does not say NoSuchKey of an object that was removed: %w", s.bucket, err)
	}
	return nil
}

func (s *store) close() { s.http.CloseIdleConnections() }
