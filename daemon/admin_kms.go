package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

// kmsChangeTimeout bounds a change of key management, which goes on when the
// administrator has gone.
const kmsChangeTimeout = 10 * time.Minute

// kmsRoutes are the admin routes of key management.
func kmsRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/kms":         adminKMS,
		"PUT /v1/kms":         adminSetKMS,
		"POST /v1/kms/rotate": adminRotateKMS,
		"POST /v1/kms/keys":   adminCreateKMSKey,
	}
}

// changeKeys runs a change to its end and returns the state after it.
func (d *daemon) changeKeys(r *http.Request, fn func(ctx context.Context) error) (any, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), kmsChangeTimeout)
	defer cancel()
	if err := fn(ctx); err != nil {
		return nil, err
	}
	return d.keys.status(ctx), nil
}

func adminKMS(d *daemon, r *http.Request) (any, error) { return d.keys.status(r.Context()), nil }

func adminRotateKMS(d *daemon, r *http.Request) (any, error) {
	return d.changeKeys(r, d.keys.rotate)
}

func adminCreateKMSKey(d *daemon, r *http.Request) (any, error) {
	var in api.CreateKMSKey
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return d.changeKeys(r, func(ctx context.Context) error { return d.keys.create(ctx, in.Name) })
}

func adminSetKMS(d *daemon, r *http.Request) (any, error) {
	var in api.SetKMS
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	b, err := backendOf(&in, d.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	return d.changeKeys(r, func(ctx context.Context) error { return d.keys.set(ctx, b) })
}

// backendOf checks what belongs to which backend and fills in what is left out.
func backendOf(in *api.SetKMS, stateDir string) (backendConfig, error) {
	b := backendConfig{
		Backend: in.Backend, Key: in.KeyName, KeyFile: in.KeyFile, Address: in.Address, Mount: in.Mount,
		Namespace: in.Namespace, TokenFile: in.TokenFile, Token: in.Token, CAFile: in.CAFile,
	}
	if b.Key == "" {
		b.Key = defaultKEK
	}
	switch b.Backend {
	case kmsLocal:
		if b.Address+b.Mount+b.Namespace+b.TokenFile+b.Token+b.CAFile != "" {
			return b, refuse(api.CodeUsage, "a local backend has a key file and a key name, nothing else")
		}
		if b.KeyFile == "" {
			b.KeyFile = filepath.Join(stateDir, kekFile)
		}
	case kmsVault:
		if b.KeyFile != "" {
			return b, refuse(api.CodeUsage, "a key file belongs to a local backend")
		}
		if b.Address == "" || (b.TokenFile == "") == (b.Token == "") {
			return b, refuse(api.CodeUsage, "a vault backend needs an address, and a token or a token file")
		}
		if b.Mount == "" {
			b.Mount = "transit"
		}
	default:
		return b, refuse(api.CodeUsage, "backend %q: want local or vault", b.Backend)
	}
	for what, path := range map[string]string{"key file": b.KeyFile, "token file": b.TokenFile, "CA file": b.CAFile} {
		if path != "" && !filepath.IsAbs(path) {
			return b, refuse(api.CodeUsage, "%s %q: the daemon needs an absolute path", what, path)
		}
	}
	return b, nil
}

// kmsRefusal finds the code for an error of key management; nil: it is none.
func kmsRefusal(err error) *api.Error {
	for _, known := range []struct {
		err  error
		code string
	}{
		{kms.ErrUnavailable, api.CodeUnavailable},
		{kms.ErrName, api.CodeUsage},
		{kms.ErrNoKey, api.CodeNotFound},
		{kms.ErrDenied, api.CodeDenied},
		{kms.ErrUnwrap, api.CodeConflict},
		{kms.ErrKeyFile, api.CodeConflict},
		{kms.ErrKeyMode, api.CodeConflict},
		{seal.ErrOpen, api.CodeConflict},
	} {
		if errors.Is(err, known.err) {
			return refuse(known.code, "%v", err)
		}
	}
	return nil
}

// encryptCluster prepares an encrypted cluster. There must be no buckets:
// objects that are there would stay as they are.
func (d *daemon) encryptCluster(ctx context.Context) error {
	if !d.keys.store.Encrypted() {
		buckets, err := d.engine.ListBuckets(ctx, "", 1)
		if err != nil {
			return err
		}
		if len(buckets) > 0 {
			return refuse(api.CodeConflict, "a cluster can be encrypted only while it has no buckets: there is %q", buckets[0].Name)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kmsChangeTimeout)
	defer cancel()
	return d.keys.encrypt(ctx)
}

// getJSON reads a document that must be there.
func getJSON(ctx context.Context, docs *engine.Docs, path string, into any) error {
	doc, err := docs.Get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(doc.Value, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
