package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/code"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/internal/lambda/environment"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/runtime"
	"lambent.dev/lambent/internal/sandbox"
)

const (
	// resolvedFor is how long a reference is taken to name the same image.
	resolvedFor = time.Minute
	// registryTimeout bounds the wait for one registry; the next reference may be at hand.
	registryTimeout = 30 * time.Second
	// The user and group of code.
	//
	// AWS: sbx_user1051, as recorded.
	sandboxUID, sandboxGID = 993, 990
	// sessionTTL is how long an environment's credentials last; it retires before.
	sessionTTL = 12 * time.Hour
)

// bundles turns functions into what an environment starts: images and a command.
type bundles struct {
	table  *runtime.Table
	images *image.Store
	code   *code.Store
	region string

	mu       sync.Mutex
	resolved map[string]resolved // by reference
}

type resolved struct {
	image *image.Image
	at    time.Time
}

// runtimeTable is the runtimes that are built in and the rows of the operator's table.json, which
// lies with the images.
func runtimeTable(dir string) (*runtime.Table, error) {
	name := filepath.Join(dir, "table.json")
	extra, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the table of runtimes: %w", err)
	}
	table, err := runtime.Load(extra)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return table, nil
}

// ready makes a function ready to be mounted and names its image.
func (b *bundles) ready(ctx context.Context, f function.Function) (function.Image, error) {
	ref, img, err := b.image(ctx, f.Runtime)
	if err != nil {
		return function.Image{}, err
	}
	_, release, err := b.code.Image(ctx, f.Code.Digest)
	if err != nil {
		return function.Image{}, err
	}
	release()
	return function.Image{Reference: ref, Digest: img.Digest}, nil
}

// available says whether a runtime's image can be had; the error tells what was tried.
func (b *bundles) available(ctx context.Context, id string) error {
	_, _, err := b.image(ctx, id)
	return err
}

// image is the first of a runtime's images that can be had.
func (b *bundles) image(ctx context.Context, id string) (ref string, img *image.Image, err error) {
	r, err := b.table.Lookup(id)
	if err != nil {
		return "", nil, err
	}
	var tried []string
	for _, ref := range r.Images {
		img, err := b.resolve(ctx, ref)
		if err == nil {
			return ref, img, nil
		}
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
		tried = append(tried, err.Error())
	}
	return "", nil, fmt.Errorf("no image for runtime %s (%s); build one with: lambent runtimes build %s", id, strings.Join(tried, "; "), id)
}

func (b *bundles) resolve(ctx context.Context, ref string) (*image.Image, error) {
	b.mu.Lock()
	known, ok := b.resolved[ref]
	b.mu.Unlock()
	if ok && time.Since(known.at) < resolvedFor {
		return known.image, nil
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	img, err := b.images.Resolve(ctx, ref)
	if err != nil {
		if ok && !errors.Is(err, image.ErrNotFound) {
			return known.image, nil // a registry that is away for a while
		}
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.resolved == nil {
		b.resolved = map[string]resolved{}
	}
	b.resolved[ref] = resolved{img, time.Now()}
	return img, nil
}

// bundle leases a function's images for an environment.
func (b *bundles) bundle(ctx context.Context, f function.Function) (environment.Bundle, error) {
	r, err := b.table.Lookup(f.Runtime)
	if err != nil {
		return environment.Bundle{}, err
	}
	ref, img, err := b.image(ctx, f.Runtime)
	if err != nil {
		return environment.Bundle{}, err
	}
	releaseImage := b.images.Acquire(img.Digest)
	task, releaseCode, err := b.code.Image(ctx, f.Code.Digest)
	if err != nil {
		releaseImage()
		return environment.Bundle{}, err
	}
	_, wrapped := f.Environment["AWS_LAMBDA_EXEC_WRAPPER"]
	_, hash, _ := strings.Cut(img.Digest, ":")
	return environment.Bundle{
		RootFS: img.RootFS,
		Mounts: []sandbox.Mount{{Destination: "/var/task", Image: task}},
		Args: r.Command(runtime.Start{
			Reference: ref, Entrypoint: img.Config.Entrypoint, Handler: f.Handler, MemoryMB: f.Memory, Wrapped: wrapped,
		}),
		Env: img.Config.Env,
		Cwd: "/var/task", UID: sandboxUID, GID: sandboxGID,
		RuntimeVersion: r.Version() + ".v1",
		RuntimeARN:     arn.ARN{Partition: arn.Partition(b.region), Service: "lambda", Region: b.region, Resource: "runtime:" + hash}.String(),
		Telemetry:      r.Family != runtime.Provided,
		Release:        func() { releaseImage(); releaseCode() },
	}, nil
}

// variables is the environment of a function's runtime.
func (b *bundles) variables(f function.Function, bundle environment.Bundle, c environment.Credentials, stream string) []string {
	r, err := b.table.Lookup(f.Runtime)
	if err != nil {
		return nil // unreachable: bundle has looked it up
	}
	return r.Environment(runtime.Function{
		Name: f.Name, Version: f.Version, Handler: f.Handler, Region: f.Region, MemoryMB: f.Memory,
		LogGroup: f.LogGroup, LogStream: stream,
		AccessKeyID: c.AccessKeyID, Secret: c.Secret, Token: c.Token, User: f.Environment, Image: bundle.Env,
	})
}

// roleCredentials opens a session of a function's execution role.
func (r *region) roleCredentials(_ context.Context, f function.Function) (environment.Credentials, error) {
	role, err := r.iam.Role(f.Account, f.Role)
	if errors.Is(err, iam.ErrNotFound) || err == nil && !role.Trusts("lambda.amazonaws.com") {
		return environment.Credentials{}, fmt.Errorf("%w: %s", function.ErrRole, f.Role)
	}
	if err != nil {
		return environment.Credentials{}, err
	}
	s, err := r.credentials.Session(f.Account, role.Name, role.ID, f.Name, sessionTTL)
	if err != nil {
		return environment.Credentials{}, err
	}
	return environment.Credentials{AccessKeyID: s.AccessKeyID, Secret: s.Secret, Token: s.Token, Expires: s.Expires}, nil
}
