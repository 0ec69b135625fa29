package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/spf13/cobra"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
)

// clientHelp is what the commands that speak with a region say about how they find it.
const clientHelp = `
The region is found by AWS's environment variables (AWS_ENDPOINT_URL_LAMBENT, AWS_ENDPOINT_URL or
AWS_PROFILE, and credentials), as the AWS CLI finds it; without them by --state-dir, whose credentials are the
root user's. No other address is ever asked.`

// A region is a server as its client sees it.
type regionClient struct {
	endpoint, region string
	credentials      aws.CredentialsProvider
}

// regionOf finds the region that a command is about.
func regionOf(c *cobra.Command) (*regionClient, error) {
	settings, err := loadSettings(c)
	if err != nil {
		return nil, err
	}
	return findRegion(c.Context(), settings.StateDir)
}

// findRegion finds the region by the environment, else by its state directory.
func findRegion(ctx context.Context, stateDir string) (*regionClient, error) {
	own := os.Getenv("AWS_ENDPOINT_URL_LAMBENT") // AWS's name for the endpoint of one service
	if own != "" || os.Getenv("AWS_ENDPOINT_URL") != "" || os.Getenv("AWS_PROFILE") != "" {
		cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithEC2IMDSClientEnableState(imds.ClientDisabled))
		if err != nil {
			return nil, err
		}
		if own != "" {
			cfg.BaseEndpoint = &own
		}
		if cfg.BaseEndpoint == nil || cfg.Credentials == nil {
			return nil, errors.New("AWS_PROFILE names no endpoint_url or no credentials: is it a region of Lambent's?")
		}
		return &regionClient{*cfg.BaseEndpoint, cfg.Region, cfg.Credentials}, nil
	}
	shared, err := awsconfig.LoadSharedConfigProfile(ctx, "lambent", func(o *awsconfig.LoadSharedConfigOptions) {
		o.ConfigFiles = []string{filepath.Join(stateDir, "config")}
		o.CredentialsFiles = []string{filepath.Join(stateDir, "credentials")}
	})
	if err != nil || shared.BaseEndpoint == "" {
		return nil, fmt.Errorf("no region is known: set AWS_ENDPOINT_URL and credentials, or name its state directory with --state-dir (%s has no readable config and credentials)", stateDir)
	}
	c := shared.Credentials
	return &regionClient{shared.BaseEndpoint, shared.Region, credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)}, nil
}

// call calls an operation of the region's own service and decodes its answer.
func (r *regionClient) call(ctx context.Context, operation string, in, out any) error {
	body, err := r.open(ctx, operation, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("%s: read the answer: %w", operation, err)
	}
	return nil
}

// open calls an operation; the caller reads its answer and closes it.
func (r *regionClient) open(ctx context.Context, operation string, in any) (io.ReadCloser, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(r.endpoint, "/")+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/x-amz-json-1.0")
	q.Header.Set("X-Amz-Target", "Lambent."+operation)
	sum := sha256.Sum256(body)
	key, err := r.credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("find credentials: %w", err)
	}
	if err := v4.NewSigner().SignHTTP(ctx, key, q, hex.EncodeToString(sum[:]), lambentapi.Name, r.region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (is the region running?)", operation, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var fault struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("%s: %s", operation, resp.Status)
	}
	if json.Unmarshal(text, &fault) != nil || fault.Type == "" {
		return nil, fmt.Errorf("%s: %s: %s", operation, resp.Status, bytes.TrimSpace(text))
	}
	return nil, fmt.Errorf("%s: %s: %s", operation, fault.Type[strings.LastIndexByte(fault.Type, '#')+1:], fault.Message)
}
