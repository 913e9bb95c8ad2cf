// Command ctl administers a Sluice daemon over its Unix socket. It is thin: each
// command is one call of daemon/api and a table.
//
// Commands take the form of WEKA's CLI, with or without the word s3:
// "ctl s3 bucket create B" and "ctl bucket create B" are the same. Tables are
// for people, --json for programs. Exit code 0: done; 1: refused or failed; 2:
// the command line is wrong.
package main
