// Package config assembles the daemon's configuration from flags, environment
// variables, a TOML file and defaults, in this order of precedence.
//
// Every option exists in all three forms: --stall-timeout, stall-timeout (or
// stall_timeout) in the file, SLUICE_STALL_TIMEOUT in the environment. Unknown
// keys and unknown SLUICE_ variables are errors: a typing mistake must not
// become a default.
package config
