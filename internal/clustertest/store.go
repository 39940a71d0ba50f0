package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"cratelog/internal/fixture"
)

// Store is an S3-compatible store with one bucket, which is empty at first. The bucket stands in the path.
type Store struct {
	Address              string // host:port; no TLS
	Bucket, Region       string
	AccessKey, SecretKey string

	client      *s3.Client
	kill, close func() error
	restart     func(context.Context) error
}

// Endpoint is the store's URL at an address: its own, or of a [Link] to it.
func Endpoint(address string) string { return "http://" + address }

// Kill ends the store at once: nothing answers at its address.
func (s *Store) Kill() error { return s.kill() }

// Restart starts it again, with what was in it.
func (s *Store) Restart(ctx context.Context) error { return s.restart(ctx) }

// Close ends it for good.
func (s *Store) Close() error { return s.close() }

// FakeStore is a store in this process for one test, in memory.
func FakeStore(t testing.TB) *Store {
	t.Helper()
	return ofTest(t, func(ctx context.Context) (*Store, error) { return StartFakeStore(ctx) })
}

// Versity is a store for one test that is versitygw in a process of its own, which keeps its objects in files.
func Versity(t testing.TB) *Store {
	t.Helper()
	fixture.Need(t, "versitygw")
	return ofTest(t, func(ctx context.Context) (*Store, error) { return StartVersity(ctx, "versitygw", t.TempDir()) })
}

func ofTest(t testing.TB, start func(context.Context) (*Store, error)) *Store {
	t.Helper()
	s, err := start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// StartFakeStore starts a store in this process. It is killed by cutting the network before it.
func StartFakeStore(ctx context.Context) (*Store, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: gofakes3.New(s3mem.New(), gofakes3.WithoutVersioning()).Server(),
		ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends with Close
	}()
	link, err := NewLink(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	s := newStore(link.Address)
	s.kill = func() error { link.Cut(); return nil }
	s.restart = func(context.Context) error { link.Heal(); return nil }
	s.close = func() error {
		err := errors.Join(link.Close(), server.Close())
		<-served
		return err
	}
	return s, s.begin(ctx)
}

// StartVersity starts the program of versitygw, whose files come into dir.
func StartVersity(ctx context.Context, program, dir string) (*Store, error) {
	address, err := Port()
	if err != nil {
		return nil, err
	}
	s := newStore(address)
	objects, iam := filepath.Join(dir, "objects"), filepath.Join(dir, "iam")
	if err := errors.Join(os.Mkdir(objects, 0o755), os.Mkdir(iam, 0o755)); err != nil {
		return nil, err
	}
	p := NewProgram("versitygw", func() *exec.Cmd {
		cmd := exec.Command(program, "--port", address, "--quiet", "--iam-dir", iam, "posix", objects)
		cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
		return cmd
	}, func(ctx context.Context) error {
		_, err := s.client.ListBuckets(ctx, &s3.ListBucketsInput{})
		return err
	})
	s.kill = p.Kill
	s.restart = p.Start
	s.close = p.Kill // nobody wants its files
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return s, s.begin(ctx)
}

func newStore(address string) *Store {
	s := &Store{Bucket: "log", Region: "us-east-1", AccessKey: "tests", SecretKey: "only-for-tests"}
	return s.at(address)
}

// at is the store as it is reached at another address.
func (s *Store) at(address string) *Store {
	other := *s
	other.Address = address
	other.client = s3.NewFromConfig(aws.Config{Region: s.Region,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, "")}, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle = aws.String(Endpoint(address)), true
	})
	return &other
}

// begin makes the bucket. Without it the store is closed.
func (s *Store) begin(ctx context.Context) error {
	_, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &s.Bucket})
	if err != nil {
		err = errors.Join(fmt.Errorf("the bucket %s: %w", s.Bucket, err), s.Close())
	}
	return err
}

// Get returns an object.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	o, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.Bucket, Key: &name})
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	return io.ReadAll(o.Body)
}

// Put writes an object, whatever stands there.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.Bucket, Key: &name, Body: bytes.NewReader(data)})
	return err
}
