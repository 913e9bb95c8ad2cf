package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// maxAdminBody bounds an admin request's body in bytes.
const maxAdminBody = 4 << 20

// errNoCluster answers what needs a cluster before there is one.
var errNoCluster = refuse(api.CodeNotFound, "no S3 cluster: create one with 'ctl s3 cluster create NAME .config_fs'")

// refuse makes an answer that is no success; its status follows from code.
func refuse(code, format string, args ...any) *api.Error {
	return &api.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// adminFunc handles one admin request: it returns the answer to be encoded (nil
// for 204) or an error.
type adminFunc func(d *daemon, r *http.Request) (any, error)

// openAdmin opens the admin socket and serves the admin API on it.
func (d *daemon) openAdmin(context.Context) error {
	ln, err := listenAdmin(d.cfg.AdminSocket, d.cfg.AdminGroup)
	if err != nil {
		return err
	}
	d.admin = &http.Server{
		Handler:           d.adminMux(),
		ConnContext:       withPeer,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	go func() {
		if err := d.admin.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			d.failed <- fmt.Errorf("admin socket: %w", err)
		}
	}()
	return nil
}

// adminRoutes are all routes of the admin API.
func adminRoutes() map[string]adminFunc {
	routes := map[string]adminFunc{
		"GET /v1/status":                  adminStatus,
		"POST /v1/cluster":                adminCreateCluster,
		"PATCH /v1/cluster":               adminUpdateCluster,
		"DELETE /v1/cluster":              adminDestroyCluster,
		"GET /v1/buckets":                 adminBuckets,
		"POST /v1/buckets":                adminCreateBucket,
		"DELETE /v1/buckets/{name}":       adminDestroyBucket,
		"GET /v1/users":                   adminUsers,
		"POST /v1/users":                  adminCreateUser,
		"DELETE /v1/users/{name}":         adminDeleteUser,
		"PUT /v1/users/{name}/password":   adminSetPassword,
		"PUT /v1/users/{name}/role":       adminSetRole,
		"GET /v1/policies":                adminPolicies,
		"POST /v1/policies":               adminPutPolicy,
		"GET /v1/policies/{name}":         adminPolicy,
		"DELETE /v1/policies/{name}":      adminRemovePolicy,
		"POST /v1/policies/{name}/attach": adminAttach,
		"POST /v1/policies/{name}/detach": adminDetach,
		"GET /v1/tls":                     adminTLS,
		"PUT /v1/tls":                     adminSetTLS,
		"DELETE /v1/tls":                  adminUnsetTLS,
	}
	for _, table := range []map[string]adminFunc{identityRoutes(), accessRoutes(), kmsRoutes(), auditRoutes(), limitRoutes(), parityRoutes(), performanceRoutes(), driveRoutes(), exportRoutes()} {
		maps.Copy(routes, table)
	}
	return routes
}

func (d *daemon) adminMux() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, fn := range adminRoutes() {
		mux.HandleFunc(pattern, d.adminHandler(fn))
	}
	mux.HandleFunc("/", d.adminHandler(func(_ *daemon, r *http.Request) (any, error) {
		return nil, refuse(api.CodeNotFound, "the daemon has no %s %s: ctl and sluiced may be of different versions", r.Method, r.URL.Path)
	}))
	return mux
}

// adminHandler checks the peer, runs fn, and answers.
func (d *daemon) adminHandler(fn adminFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		uid, ok := peerAllowed(r.Context(), d.cfg.AdminGroup != "")
		audited := d.auditAdmin(r)
		var (
			out any
			err error
		)
		if ok {
			r.Body = http.MaxBytesReader(w, r.Body, adminBodyMost(r))
			out, err = fn(d, r)
		} else {
			err = refuse(api.CodeDenied, "uid %d may not administer this daemon", uid)
		}
		if r.Method != http.MethodGet {
			d.log.Info("admin", "uid", uid, "method", r.Method, "path", r.URL.Path, "err", err)
		}
		audited(err)
		d.answer(w, out, err)
	}
}

func (d *daemon) answer(w http.ResponseWriter, out any, err error) {
	status := http.StatusOK
	if err != nil {
		refusal := toRefusal(err)
		if refusal.Code == api.CodeInternal {
			d.log.Error("admin request failed", "err", err)
		}
		status, out = statusOf(refusal.Code), refusal
	}
	if out == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	data, err := json.Marshal(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(data, '\n'))
}

func statusOf(code string) int {
	switch code {
	case api.CodeUsage:
		return http.StatusBadRequest
	case api.CodeDenied:
		return http.StatusForbidden
	case api.CodeNotFound:
		return http.StatusNotFound
	case api.CodeExists, api.CodeConflict:
		return http.StatusConflict
	case api.CodeUnavailable:
		return http.StatusServiceUnavailable
	case api.CodeNoSpace:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// toRefusal finds the words and the code for an error of the layers below.
func toRefusal(err error) *api.Error {
	var refusal *api.Error
	if errors.As(err, &refusal) {
		return refusal
	}
	text := strings.TrimPrefix(err.Error(), "iam: ")
	for code, targets := range map[string][]error{
		api.CodeNotFound: {
			iam.ErrNoUser, iam.ErrNoPolicy, iam.ErrNotAttached, iam.ErrNoGroup, iam.ErrNotMember, iam.ErrNoAccessKey,
			iam.ErrNoServiceAccount,
		},
		api.CodeExists: {iam.ErrUserExists, iam.ErrPolicyExists, iam.ErrAlreadyAttached, iam.ErrGroupExists},
		api.CodeConflict: {
			iam.ErrPolicyInUse, iam.ErrPredefined, iam.ErrNotS3User, iam.ErrLimit, iam.ErrGroupInUse, iam.ErrLastAdmin,
			iam.ErrDisabled, iam.ErrExpired, iam.ErrCorrupt,
		},
		api.CodeDenied: {iam.ErrMayNotAssume},
		api.CodeUsage: {
			iam.ErrBadName, iam.ErrBadPassword, iam.ErrBadRole, iam.ErrNeedPassword, policy.ErrMalformed,
			iam.ErrBadExpiry, iam.ErrBadDuration, iam.ErrTokenTooLarge,
		},
	} {
		for _, target := range targets {
			if errors.Is(err, target) {
				return refuse(code, "%s", text)
			}
		}
	}
	if errors.Is(err, s3fast.ErrBadPerformance) {
		return refuse(api.CodeUsage, "%s", strings.TrimPrefix(err.Error(), s3fast.ErrBadPerformance.Error()+": "))
	}
	if refusal := kmsRefusal(err); refusal != nil {
		return refusal
	}
	switch engine.KindOf(err) {
	case engine.NoBucket:
		return refuse(api.CodeNotFound, "no such bucket")
	case engine.BucketExists:
		return refuse(api.CodeExists, "the bucket exists already")
	case engine.BucketNotEmpty:
		return refuse(api.CodeConflict, "the bucket is not empty")
	case engine.NoDrive:
		return refuse(api.CodeNotFound, "%s", text)
	case engine.Conflict:
		return refuse(api.CodeConflict, "%s", text)
	case engine.NoSpace:
		return refuse(api.CodeNoSpace, "the drives are full")
	case engine.Unavailable:
		return refuse(api.CodeUnavailable, "%s", text)
	}
	return refuse(api.CodeInternal, "%s", text)
}

// decode reads a JSON body, whole and without unknown fields.
func decode(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return refuse(api.CodeUsage, "malformed request: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return refuse(api.CodeUsage, "malformed request: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return refuse(api.CodeUsage, "malformed request: more than one JSON value")
	}
	return checkFields(body)
}

// checkFields refuses an object in which a field is written otherwise than in the
// API or given twice: encoding/json takes any case, and the last of several, and
// the audit would tell of another than was meant.
func checkFields(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil // null: no fields
	}
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		name, _ := t.(string)
		if err != nil || seen[name] || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return refuse(api.CodeUsage, "malformed request: field %.64q", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return refuse(api.CodeUsage, "malformed request: %v", err)
		}
	}
	return nil
}

// Names of clusters, and of domains of virtual-host style requests (RFC 1123).
var (
	clusterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	domainName  = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

func checkClusterName(name string) error {
	if !clusterName.MatchString(name) {
		return refuse(api.CodeUsage, "cluster name %q: use 1-63 letters, digits, '.', '_' and '-', beginning with a letter or digit", name)
	}
	return nil
}

// checkDomains returns the domains in lower case.
func checkDomains(in []string) ([]string, error) {
	out := make([]string, 0, len(in))
	for _, d := range in {
		d = strings.ToLower(strings.TrimSuffix(d, "."))
		if !domainName.MatchString(d) || len(d) > 253 {
			return nil, refuse(api.CodeUsage, "%q is no domain name", d)
		}
		out = append(out, d)
	}
	return out, nil
}
