package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast"
	"github.com/sluicehq/sluice/s3fast/iam"
)

// An export is one JSON object:
//
//	format   "sluice-export"
//	version  1; others are refused, and so is any field that is not listed here
//	seal     left out when the export has no secrets; else
//	  kdf         "argon2id" (RFC 9106, version 0x13)
//	  time        passes; the daemon writes 3, and accepts 1…16
//	  memory_kib  KiB; 65536; 8…262144
//	  lanes       4; 1…16
//	  salt        base64 of 16 random bytes; 16…64
//	  check       base64 of a box of 32 bytes: SHA-256 of content without white
//	              space between its tokens (json.Compact). Context "export/1/content"
//	content  object:
//	  created    RFC 3339, UTC: when it was exported
//	  daemon     version of the daemon that wrote it, for people
//	  cluster    left out where there is none; else name, domains, and, unless false
//	             or "" or without fields, encrypted, parity, standard_buckets and
//	             performance_buckets, as in the record of the cluster
//	  policies, groups, users, service_accounts
//	             documents of package iam: see iam.Export
//	  limits     left out where there are none: the document of limits
//	  audit      left out where audit was never configured, or its endpoint holds
//	             a secret; the document of the audit webhook without its token, in
//	             an export without secrets only
//	  sealed_audit  in its place with secrets: base64 of a box of that document, its
//	             token again in a box of its own. Context "export/1/audit"
//	  oidc       documents of providers (oidc.Config)
//	  scrub      left out where nothing was set: period, a duration ("720h0m0s"), and
//	             min_bytes_per_second
//	  buckets    objects of
//	    name, owner, location
//	    documents  object: path → text of the document, for the bucket's policy,
//	               public access block, object ownership, encryption, parity and
//	               performance
//
// Lists are in order of names or ids. The 32 bytes that the passphrase yields are a
// seal.Key, and boxes are its boxes: AES-256-GCM under a key derived from them, a
// random nonce before, the context as additional data. A file with secrets is thereby
// authenticated as a whole: whoever lacks the passphrase can change nothing in it. One
// without secrets is as trustworthy as the place where it was kept.
//
// The keys of encrypted data are in neither: objects are not exported, and what opens
// them (ring keys, kek.keys, the keys of a KMS) stays with the drives and the state
// directory that they are encrypted for. Nor are the cluster's identity, the key file,
// certificates, the session key (sessions end), and what the daemon's flags say.
const (
	exportFormat  = "sluice-export"
	exportVersion = 1

	contentContext = "export/1/content"
	auditContext   = "export/1/audit"
)

// Costs of the key derivation: RFC 9106, section 4, second choice. What a file may ask
// for is bounded, as an administrator may import what somebody else wrote.
const (
	kdfName      = "argon2id"
	kdfTime      = 3
	kdfMemory    = 64 << 10 // KiB
	kdfLanes     = 4
	kdfSalt      = 16 // bytes
	kdfTimeMax   = 16
	kdfMemoryMax = 256 << 10
	kdfLanesMax  = 16
	kdfSaltMax   = 64

	minPassphrase = 8       // characters
	maxPassphrase = 4 << 10 // bytes
)

// maxExport bounds an export in bytes; of a client, see api.MaxExport.
const maxExport = api.MaxExport

type exportFile struct {
	Format  string          `json:"format"`
	Version int             `json:"version"`
	Seal    *exportSeal     `json:"seal,omitempty"`
	Content json.RawMessage `json:"content"`
}

type exportSeal struct {
	KDF    string `json:"kdf"`
	Time   uint32 `json:"time"`
	Memory uint32 `json:"memory_kib"`
	Lanes  uint8  `json:"lanes"`
	Salt   []byte `json:"salt"`
	Check  []byte `json:"check"`
}

type exportContent struct {
	Created time.Time      `json:"created"`
	Daemon  string         `json:"daemon"`
	Cluster *exportCluster `json:"cluster,omitempty"`
	iam.Export
	Limits      *s3fast.LimitSettings `json:"limits,omitempty"`
	Audit       json.RawMessage       `json:"audit,omitempty"`
	SealedAudit []byte                `json:"sealed_audit,omitempty"`
	OIDC        []json.RawMessage     `json:"oidc"`
	Scrub       *exportScrub          `json:"scrub,omitempty"`
	Buckets     []exportBucket        `json:"buckets"`
}

type exportCluster struct {
	Name      string   `json:"name"`
	Domains   []string `json:"domains"`
	Encrypted bool     `json:"encrypted,omitempty"`
	Parity    string   `json:"parity,omitempty"`

	Standard    api.Performance `json:"standard_buckets,omitzero"`
	Performance api.Performance `json:"performance_buckets,omitzero"`
}

type exportBucket struct {
	Name      string            `json:"name"`
	Owner     string            `json:"owner"`
	Location  string            `json:"location"`
	Documents map[string]string `json:"documents"`
}

// checkPassphrase refuses what is too short to protect anything.
func checkPassphrase(passphrase string) error {
	if n := utf8.RuneCountInString(passphrase); n < minPassphrase || len(passphrase) > maxPassphrase {
		return refuse(api.CodeUsage, "the passphrase must have at least %d characters, and at most %d bytes", minPassphrase, maxPassphrase)
	}
	return nil
}

// newSeal returns a fresh salt and costs.
func newExportSeal() *exportSeal {
	s := &exportSeal{KDF: kdfName, Time: kdfTime, Memory: kdfMemory, Lanes: kdfLanes, Salt: make([]byte, kdfSalt)}
	rand.Read(s.Salt)
	return s
}

// check checks what the file asks for.
func (s *exportSeal) check() error {
	if s.KDF != kdfName || s.Time < 1 || s.Time > kdfTimeMax || s.Lanes < 1 || s.Lanes > kdfLanesMax ||
		s.Memory < 8*uint32(s.Lanes) || s.Memory > kdfMemoryMax || len(s.Salt) < kdfSalt || len(s.Salt) > kdfSaltMax {
		return errors.New("the parameters of its key derivation are not acceptable")
	}
	return nil
}

// key derives the key of the export. It takes the memory that s tells.
func (s *exportSeal) key(passphrase string) *seal.Key {
	return seal.NewKey([32]byte(argon2.IDKey([]byte(passphrase), s.Salt, s.Time, s.Memory, s.Lanes, 32)))
}

// contentSum is what the check of a sealed export is of.
func contentSum(content []byte) ([]byte, error) {
	var tight bytes.Buffer
	if err := json.Compact(&tight, content); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(tight.Bytes())
	return sum[:], nil
}

// encodeExport makes the file. s and key are nil for one without secrets.
func encodeExport(c *exportContent, s *exportSeal, key *seal.Key) ([]byte, error) {
	content, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	file := exportFile{Format: exportFormat, Version: exportVersion, Content: content}
	if key != nil {
		sum, err := contentSum(content)
		if err != nil {
			return nil, err
		}
		sealed := *s
		sealed.Check = key.Seal(contentContext, sum)
		file.Seal = &sealed
	}
	out, err := json.MarshalIndent(&file, "", "  ")
	if err == nil && len(out) >= maxExport {
		err = refuse(api.CodeConflict, "the configuration takes more than %d MiB: too large for an export", maxExport>>20)
	}
	return append(out, '\n'), err
}

// readExport reads a file as far as can be done without the passphrase.
func readExport(text []byte) (*exportFile, error) {
	// First the version: of a newer one nothing else is understood.
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil || head.Format != exportFormat {
		return nil, refuse(api.CodeUsage, "this is no export of a Sluice cluster")
	}
	if head.Version != exportVersion {
		return nil, refuse(api.CodeUsage, "the export has version %d, and this daemon knows %d: use a newer sluiced", head.Version, exportVersion)
	}
	file := new(exportFile)
	if err := strictDecode(text, file); err != nil {
		return nil, refuse(api.CodeUsage, "malformed export: %v", err)
	}
	if file.Seal != nil {
		if err := file.Seal.check(); err != nil {
			return nil, refuse(api.CodeUsage, "malformed export: %v", err)
		}
	}
	return file, nil
}

// open checks and decodes the content. key is nil for a file without secrets.
func (f *exportFile) open(passphrase string) (*exportContent, *seal.Key, error) {
	var key *seal.Key
	if f.Seal != nil {
		key = f.Seal.key(passphrase)
		want, err := key.Open(contentContext, f.Seal.Check)
		if err != nil {
			return nil, nil, refuse(api.CodeUsage, "the passphrase is not the export's")
		}
		if sum, err := contentSum(f.Content); err != nil || !bytes.Equal(sum, want) {
			return nil, nil, refuse(api.CodeUsage, "the export was changed since it was written: nothing in it can be relied on")
		}
	}
	c := new(exportContent)
	if err := strictDecode(f.Content, c); err != nil {
		return nil, nil, refuse(api.CodeUsage, "malformed export: %v", err)
	}
	return c, key, nil
}

// strictDecode decodes one JSON value without unknown fields.
func strictDecode(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("text after the document")
	}
	return nil
}
