// Command inspect looks at drives and metadata of a daemon that does not run, and
// rescues objects from what is left of them. It changes nothing: drives are opened for
// reading, and the metadata store is copied before it is opened.
//
//	go run ./tools/inspect drive PATH
//	go run ./tools/inspect frames PATH [--blob ID]
//	go run ./tools/inspect meta DIR [--list WHAT]
//	go run ./tools/inspect object DIR BUCKET KEY
//	go run ./tools/inspect check DIR DRIVE…
//	go run ./tools/inspect extract DIR DRIVE… BUCKET KEY -o FILE
//
// PATH and DRIVE are a drive: its directory, its data file, or a block device. DIR is
// a copy of the metadata: a directory "meta", or the directory drive or state
// directory that holds one. --state-dir names the state directory with the keys of an
// encrypted store or encrypted objects; --tmp where the copy of the metadata goes.
//
// Superblocks and frames are decoded here once more, from what engine/FORMAT.md says,
// so that a mistake in the engine is not repeated by who looks for it.
//
// It exits with 1 when something is wrong or cannot be done, with 2 when it was called
// wrongly.
package main
