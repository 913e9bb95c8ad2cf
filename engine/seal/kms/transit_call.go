package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// transitBody is the body of any request: the API ignores none of the fields,
// but each endpoint is sent its own only. Byte strings are base64.
type transitBody struct {
	Plaintext  string `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
	Context    string `json:"context,omitempty"`
	Type       string `json:"type,omitempty"`
}

// transitData is what is used of any answer's "data".
type transitData struct {
	Plaintext     string `json:"plaintext"`
	Ciphertext    string `json:"ciphertext"`
	LatestVersion int    `json:"latest_version"`
}

// retryError is a failure that may pass.
type retryError struct{ error }

func (e retryError) Unwrap() error { return e.error }

// call makes one request of the API, up to limit times.
func (t *Transit) call(ctx context.Context, method, path string, in *transitBody, limit int) (out transitData, err error) {
	pause := t.backOff
	for try := 1; ; try++ {
		out, err = t.once(ctx, method, path, in)
		var retry retryError
		if !errors.As(err, &retry) {
			return out, err
		}
		if try >= limit {
			return out, fmt.Errorf("%w: %s: %w", ErrUnavailable, t.cfg.Address, retry.error)
		}
		// Not all servers of a cluster come back at the same moment.
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return out, fmt.Errorf("%w: %s: %w (%w)", ErrUnavailable, t.cfg.Address, ctx.Err(), retry.error)
		}
		pause *= backOffFactor
	}
}

func (t *Transit) once(ctx context.Context, method, path string, in *transitBody) (out transitData, err error) {
	token, err := t.token()
	if err != nil {
		return out, err
	}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return out, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.base+path, body)
	if err != nil {
		return out, fmt.Errorf("kms: %w", err)
	}
	req.Header.Set("X-Vault-Request", "true")
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if t.cfg.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", t.cfg.Namespace)
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return out, retryError{err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return out, retryError{err}
	}
	if resp.StatusCode/100 != 2 {
		return out, t.refusal(resp.StatusCode, path, data)
	}
	if resp.StatusCode == http.StatusNoContent || len(data) == 0 {
		return out, nil
	}
	var answer struct {
		Data transitData `json:"data"`
	}
	if len(data) > maxAnswer || json.Unmarshal(data, &answer) != nil {
		return out, fmt.Errorf("%w: %s answers something else than a transit engine does", ErrUnavailable, t.cfg.Address)
	}
	return answer.Data, nil
}

// refusal turns an answer that is no success into an error. The API says in a
// text only what was wrong with a request (400).
func (t *Transit) refusal(status int, path string, body []byte) error {
	var answer struct {
		Errors []string `json:"errors"`
	}
	_ = json.Unmarshal(body, &answer) // a text that is missing is no news
	text := strings.Join(answer.Errors, "; ")
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	verb, name, _ := strings.Cut(path, "/")
	name, _, _ = strings.Cut(name, "/")
	at := fmt.Sprintf("key %q of %s, mount %s (status %d %q)", name, t.cfg.Address, t.cfg.Mount, status, text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrDenied, at)
	case status == http.StatusNotFound, has("key not found", "no existing key", "too old", "disallowed by policy"):
		return fmt.Errorf("%w: %s", ErrNoKey, at)
	case status == http.StatusRequestTimeout, status == http.StatusPreconditionFailed,
		status == http.StatusTooManyRequests, status >= 500:
		return retryError{errors.New(at)}
	case verb == "decrypt", verb == "rewrap":
		return fmt.Errorf("%w: %s", ErrUnwrap, at)
	}
	return fmt.Errorf("kms: refused: %s", at)
}
