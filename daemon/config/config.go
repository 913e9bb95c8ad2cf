package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"github.com/sluicehq/sluice/daemon/api"
)

// TLS modes.
const (
	TLSAuto     = "auto"     // HTTPS and plain HTTP on one port
	TLSRequired = "required" // HTTPS only
	TLSOff      = "off"      // plain HTTP only
)

// Modes of client certificates.
const (
	ClientAuthOff      = "off"      // none is asked for
	ClientAuthOptional = "optional" // one that is shown must be good
	ClientAuthRequired = "required" // no handshake without a good one
)

// Config is the daemon's configuration.
type Config struct {
	Drives      []string // directories or block devices
	Listen      []string // HOST:PORT
	AdminSocket string
	StateDir    string // certificate, cluster key, and metadata where no drive is a directory
	File        string // the TOML file, if any
	TLS         string

	MetadataDirs  []string // directories that may hold copies of the metadata, besides the drives'
	TrustMetadata bool     // open the newest metadata there is, even if newer may be elsewhere

	TCPCongestion string // congestion control of S3 connections; "": the system's, but for those within a host of bbr

	TLSClientCA   string // PEM file; "": no client certificates
	TLSClientAuth string // off, optional, required

	User       string // NAME[:GROUP] to run as; "": as started
	AdminGroup string // group that may use the admin socket, too; "": none

	Region    string
	IO        string // auto, io_uring, polled, pread
	Depth     int    // operations in flight per drive
	PinCPUs   bool
	Buffers   int64 // bytes of I/O buffers
	InlineMax int64 // largest object kept with the metadata, bytes
	DriveSize int64 // most bytes used per drive; 0: all but the reserve
	Reserve   int64 // bytes of a file system left to metadata
	Cache     int64 // metadata cache, bytes
	ReadCache int64 // cache of objects that are read often, bytes; 0: none

	StallTimeout    time.Duration
	IdleTimeout     time.Duration
	ShutdownTimeout time.Duration
	MaxConns        int
	MaxConnsPerAddr int // -1: half of MaxConns; 0: no limit
	MaxRequests     int
	TrustedProxies  []netip.Prefix

	LogLevel  string // debug, info, warn, error
	LogFormat string // text, json
}

// Default returns the configuration that holds where nothing else is said.
func Default() Config {
	return Config{
		Listen:          []string{":9000"},
		AdminSocket:     api.DefaultSocket(),
		StateDir:        defaultStateDir(),
		TLS:             TLSAuto,
		TLSClientAuth:   ClientAuthOff,
		Region:          "us-east-1",
		IO:              "auto",
		Depth:           128,
		PinCPUs:         true,
		Buffers:         256 << 20,
		InlineMax:       0,
		Reserve:         1 << 30,
		Cache:           8 << 20,
		ReadCache:       32 << 20,
		StallTimeout:    30 * time.Second,
		IdleTimeout:     2 * time.Minute,
		ShutdownTimeout: 30 * time.Second,
		MaxConns:        65536,
		MaxConnsPerAddr: -1,
		MaxRequests:     4096,
		LogLevel:        "info",
		LogFormat:       "text",
	}
}

func defaultStateDir() string {
	if os.Getuid() != 0 {
		if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
			return filepath.Join(dir, "sluice")
		}
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, ".local", "state", "sluice")
		}
	}
	return "/var/lib/sluice"
}

// Flags binds c to a new flag set; c's present values are the defaults shown.
func (c *Config) Flags() *pflag.FlagSet {
	fs := pflag.NewFlagSet("sluiced", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.StringSliceVar(&c.Drives, "drive", c.Drives, "`PATH` of a drive: a directory or a block device (repeatable, comma-separated)")
	fs.StringSliceVar(&c.Listen, "listen", c.Listen, "`HOST:PORT` of the S3 endpoint (repeatable)")
	fs.StringVar(&c.TCPCongestion, "tcp-congestion", c.TCPCongestion, "TCP congestion control `NAME` of S3 connections (cubic, bbr, ...); default: the system's, and reno instead of bbr within this host")
	fs.StringVar(&c.AdminSocket, "admin-socket", c.AdminSocket, "`PATH` of the admin socket")
	fs.StringVar(&c.StateDir, "state-dir", c.StateDir, "`DIR` for the certificate and the cluster key file")
	fs.StringVar(&c.File, "config", c.File, "TOML configuration `FILE`")
	fs.StringSliceVar(&c.MetadataDirs, "metadata-dir", c.MetadataDirs, "`DIR` for a copy of the metadata, for drives that are block devices; best one per disk (repeatable)")
	fs.BoolVar(&c.TrustMetadata, "trust-metadata", c.TrustMetadata, "start with the newest metadata found, even where so many drives are missing that a newer copy may exist: what only that knows is lost")
	fs.StringVar(&c.TLS, "tls", c.TLS, "auto (HTTPS and HTTP), required (HTTPS only) or off")
	fs.StringVar(&c.TLSClientCA, "tls-client-ca", c.TLSClientCA, "PEM `FILE` of the authorities of client certificates")
	fs.StringVar(&c.TLSClientAuth, "tls-client-auth", c.TLSClientAuth, "client certificates: off, optional or required; they come on top of signatures")
	fs.StringVar(&c.User, "user", c.User, "`NAME[:GROUP]` to run as, once what needs root has been opened")
	fs.StringVar(&c.AdminGroup, "admin-group", c.AdminGroup, "`GROUP` whose members may administer, besides root and the daemon's user")
	fs.StringVar(&c.Region, "region", c.Region, "region that clients sign for")
	fs.StringVar(&c.IO, "io", c.IO, "drive I/O: auto, io_uring, polled (NVMe with poll queues; a CPU per busy drive) or pread")
	fs.IntVar(&c.Depth, "queue-depth", c.Depth, "operations in flight per drive (1-4096)")
	fs.BoolVar(&c.PinCPUs, "pin-cpus", c.PinCPUs, "pin each drive's loop to a CPU where there are enough of them")
	fs.Var((*size)(&c.Buffers), "buffer-memory", "memory for I/O buffers")
	fs.Var((*size)(&c.InlineMax), "inline-max", "largest object kept with the metadata; 0: the built-in choice")
	fs.Var((*size)(&c.DriveSize), "drive-size", "most bytes used per drive; 0: all there is")
	fs.Var((*size)(&c.Reserve), "reserve", "bytes of each drive's file system left to metadata")
	fs.Var((*size)(&c.Cache), "metadata-cache", "memory for cached metadata; more speeds up reads of many small objects")
	fs.Var((*size)(&c.ReadCache), "read-cache", "memory for small objects that are read often (encrypted and inline ones are not kept); 0: none")
	fs.DurationVar(&c.StallTimeout, "stall-timeout", c.StallTimeout, "a client that moves no byte for so long is dropped")
	fs.DurationVar(&c.IdleTimeout, "idle-timeout", c.IdleTimeout, "an idle connection is closed after so long")
	fs.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout, "requests in flight get so long at a stop")
	fs.IntVar(&c.MaxConns, "max-connections", c.MaxConns, "open connections")
	fs.IntVar(&c.MaxConnsPerAddr, "max-connections-per-address", c.MaxConnsPerAddr, "open connections of one client address (an IPv6 /64); 0: no limit, -1: half of max-connections")
	fs.Var((*prefixes)(&c.TrustedProxies), "trusted-proxies", "`CIDR[,CIDR...]` of proxies whose X-Forwarded-For is believed")
	fs.IntVar(&c.MaxRequests, "max-requests", c.MaxRequests, "requests in flight; more answer SlowDown")
	fs.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	fs.StringVar(&c.LogFormat, "log-format", c.LogFormat, "text or json")
	return fs
}

// size is a number of bytes as people write it: 4096, 64KiB, 1GB.
type size int64

func (s *size) String() string { return humanize.IBytes(uint64(*s)) }
func (s *size) Type() string   { return "SIZE" }

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is no size (say 64MiB or 1GB)", text)
	}
	*s = size(n)
	return nil
}

// prefixes is a list of address ranges: 10.0.0.0/8,2001:db8::/32,192.0.2.7.
type prefixes []netip.Prefix

func (p *prefixes) String() string {
	parts := make([]string, len(*p))
	for i, prefix := range *p {
		parts[i] = prefix.String()
	}
	return strings.Join(parts, ",")
}

func (p *prefixes) Type() string { return "CIDR" }

// Set implements pflag.Value. It replaces what was there.
func (p *prefixes) Set(text string) error {
	var found []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if addr, addrErr := netip.ParseAddr(part); addrErr == nil {
			prefix, err = addr.Unmap().WithZone("").Prefix(addr.Unmap().BitLen())
		}
		if err != nil {
			return fmt.Errorf("%q is no address or range of addresses (say 10.0.0.0/8)", part)
		}
		found = append(found, prefix.Masked())
	}
	*p = found
	return nil
}

// Validate checks what no single flag can.
func (c *Config) Validate() error {
	switch {
	case len(c.Drives) == 0:
		return fmt.Errorf("no drive given: --drive PATH names a directory or block device to store objects on")
	case !oneOf(c.TLS, TLSAuto, TLSRequired, TLSOff):
		return fmt.Errorf("tls: %q is not auto, required or off", c.TLS)
	case !oneOf(c.IO, "auto", "io_uring", "polled", "pread"):
		return fmt.Errorf("io: %q is not auto, io_uring, polled or pread", c.IO)
	case !oneOf(c.LogLevel, "debug", "info", "warn", "error"):
		return fmt.Errorf("log-level: %q is not debug, info, warn or error", c.LogLevel)
	case !oneOf(c.LogFormat, "text", "json"):
		return fmt.Errorf("log-format: %q is not text or json", c.LogFormat)
	case c.Depth < 1 || c.Depth > 4096:
		return fmt.Errorf("queue-depth: %d is not within 1-4096", c.Depth)
	case c.Buffers < 16<<20:
		return fmt.Errorf("buffer-memory: %s is below 16 MiB", humanize.IBytes(uint64(c.Buffers)))
	case c.ReadCache < 0 || c.ReadCache > 1<<40:
		return fmt.Errorf("read-cache: %s is above 1 TiB", humanize.IBytes(uint64(c.ReadCache)))
	case c.InlineMax > 1<<20:
		return fmt.Errorf("inline-max: %s is above 1 MiB", humanize.IBytes(uint64(c.InlineMax)))
	case c.MaxConns < 1 || c.MaxRequests < 1:
		return fmt.Errorf("max-connections and max-requests must be at least 1")
	case c.MaxConnsPerAddr < -1:
		return fmt.Errorf("max-connections-per-address: %d is below -1", c.MaxConnsPerAddr)
	case !oneOf(c.TLSClientAuth, ClientAuthOff, ClientAuthOptional, ClientAuthRequired):
		return fmt.Errorf("tls-client-auth: %q is not off, optional or required", c.TLSClientAuth)
	case c.TLSClientAuth != ClientAuthOff && c.TLSClientCA == "":
		return fmt.Errorf("tls-client-auth: %s needs --tls-client-ca", c.TLSClientAuth)
	case c.TLSClientAuth != ClientAuthOff && c.TLS == TLSOff:
		return fmt.Errorf("tls-client-auth: %s needs TLS", c.TLSClientAuth)
	case c.TLSClientAuth == ClientAuthRequired && c.TLS != TLSRequired:
		return fmt.Errorf("tls-client-auth: required needs --tls required: plain HTTP would pass it by")
	case c.StallTimeout <= 0 || c.IdleTimeout <= 0 || c.ShutdownTimeout <= 0:
		return fmt.Errorf("timeouts must be positive")
	case len(c.Listen) == 0:
		return fmt.Errorf("listen: no address given")
	case !isCongestionName(c.TCPCongestion):
		return fmt.Errorf("tcp-congestion: %q is no name of an algorithm (say cubic or bbr)", c.TCPCongestion)
	}
	return c.validateDrives()
}

// isCongestionName tells whether the kernel could know a congestion control of that
// name: it has up to 15 characters (TCP_CA_NAME_MAX, with the zero byte). "" is good,
// too.
func isCongestionName(s string) bool {
	return len(s) <= 15 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// validateDrives also makes the paths absolute.
func (c *Config) validateDrives() error {
	seen := make(map[string]bool, len(c.Drives)+len(c.MetadataDirs))
	for _, of := range []struct {
		flag  string
		paths []string
	}{{"drive", c.Drives}, {"metadata-dir", c.MetadataDirs}} {
		for i, path := range of.paths {
			clean, err := filepath.Abs(path)
			if err != nil || path == "" {
				return fmt.Errorf("%s: %q is no path", of.flag, path)
			}
			if seen[clean] {
				return fmt.Errorf("%s: %s is given twice", of.flag, clean)
			}
			seen[clean], of.paths[i] = true, clean
		}
	}
	return nil
}

func oneOf(s string, options ...string) bool {
	for _, o := range options {
		if s == o {
			return true
		}
	}
	return false
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "SLUICE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
