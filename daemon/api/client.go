package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// maxAnswer bounds an answer in bytes.
const maxAnswer = 64 << 20

// DefaultSocket is the path of the admin socket where no flag or variable says
// otherwise: /run/sluice/sluiced.sock for root, else
// $XDG_RUNTIME_DIR/sluice/sluiced.sock.
func DefaultSocket() string {
	if os.Getuid() != 0 {
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			return filepath.Join(dir, "sluice", "sluiced.sock")
		}
	}
	return "/run/sluice/sluiced.sock"
}

// Client calls the daemon. Its methods return *Error when the daemon refuses.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon at the Unix socket path.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
	}
	return &Client{
		socket: socket,
		http:   &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// call sends in (nil: no body) and decodes the answer into out (nil: none).
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sluiced"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.dialError(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the daemon's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		refusal := &Error{Status: resp.StatusCode}
		if json.Unmarshal(data, refusal) != nil || refusal.Message == "" {
			refusal.Message = resp.Status
		}
		return refusal
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decoding the daemon's answer: %w", err)
	}
	return nil
}

// dialError says what to do about a daemon that does not answer.
func (c *Client) dialError(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		return err
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("no permission to use the admin socket %s: run as root or as the daemon's user", c.socket)
	}
	return fmt.Errorf("no daemon answers at %s: is sluiced running? (--socket or $SLUICE_SOCKET names another socket)", c.socket)
}

// Status returns the daemon's state.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// CreateCluster creates the cluster; the same request again succeeds.
func (c *Client) CreateCluster(ctx context.Context, in CreateCluster) (out Cluster, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/cluster", in, &out)
}

// UpdateCluster changes the cluster's configuration.
func (c *Client) UpdateCluster(ctx context.Context, in UpdateCluster) (out Cluster, err error) {
	return out, c.call(ctx, http.MethodPatch, "/v1/cluster", in, &out)
}

// DestroyCluster ends the S3 service; buckets, objects and users are kept.
func (c *Client) DestroyCluster(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/cluster", nil, nil)
}

// Buckets lists buckets by name.
func (c *Client) Buckets(ctx context.Context) (out []Bucket, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/buckets", nil, &out)
}

// CreateBucket creates a bucket.
func (c *Client) CreateBucket(ctx context.Context, in CreateBucket) (out Bucket, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/buckets", in, &out)
}

// DestroyBucket removes an empty bucket.
func (c *Client) DestroyBucket(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/buckets/"+url.PathEscape(name), nil, nil)
}

// Users lists users by name.
func (c *Client) Users(ctx context.Context) (out []User, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/users", nil, &out)
}

// CreateUser adds a user.
func (c *Client) CreateUser(ctx context.Context, in CreateUser) (out CreatedUser, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/users", in, &out)
}

// DeleteUser removes a user.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/users/"+url.PathEscape(name), nil, nil)
}

// SetPassword changes a user's password (an S3 user's secret key).
func (c *Client) SetPassword(ctx context.Context, name, password string) error {
	return c.call(ctx, http.MethodPut, "/v1/users/"+url.PathEscape(name)+"/password", SetPassword{Password: password}, nil)
}

// SetRole changes a user's role.
func (c *Client) SetRole(ctx context.Context, name, role string) (out User, err error) {
	return out, c.call(ctx, http.MethodPut, "/v1/users/"+url.PathEscape(name)+"/role", SetRole{Role: role}, &out)
}

// Policies lists policies by name.
func (c *Client) Policies(ctx context.Context) (out []Policy, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/policies", nil, &out)
}

// Policy returns one policy.
func (c *Client) Policy(ctx context.Context, name string) (out Policy, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/policies/"+url.PathEscape(name), nil, &out)
}

// PutPolicy adds a custom policy.
func (c *Client) PutPolicy(ctx context.Context, in PutPolicy) (out Policy, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/policies", in, &out)
}

// RemovePolicy removes a custom policy.
func (c *Client) RemovePolicy(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/policies/"+url.PathEscape(name), nil, nil)
}

// AttachPolicy attaches a policy to a user or a group.
func (c *Client) AttachPolicy(ctx context.Context, policy string, in AttachPolicy) (out Attachment, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/policies/"+url.PathEscape(policy)+"/attach", in, &out)
}

// DetachPolicy detaches a policy from a user or a group; policy "" means
// whichever is attached.
func (c *Client) DetachPolicy(ctx context.Context, policy string, in AttachPolicy) (out Attachment, err error) {
	if policy == "" {
		policy = "-"
	}
	return out, c.call(ctx, http.MethodPost, "/v1/policies/"+url.PathEscape(policy)+"/detach", in, &out)
}

// TLS describes the certificate in use.
func (c *Client) TLS(ctx context.Context) (out TLS, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/tls", nil, &out)
}

// SetTLS installs a custom certificate.
func (c *Client) SetTLS(ctx context.Context, in SetTLS) (out TLS, err error) {
	return out, c.call(ctx, http.MethodPut, "/v1/tls", in, &out)
}

// UnsetTLS returns to the auto-generated certificate.
func (c *Client) UnsetTLS(ctx context.Context) (out TLS, err error) {
	return out, c.call(ctx, http.MethodDelete, "/v1/tls", nil, &out)
}
