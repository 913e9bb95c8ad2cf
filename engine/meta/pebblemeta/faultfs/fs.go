package faultfs

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Wrap returns fs with inject called before every operation, which fails with the
// error that it returns.
func Wrap(fs vfs.FS, inject func(op errorfs.Op) error) vfs.FS {
	injector := errorfs.InjectorFunc(inject)
	return recycling{errorfs.Wrap(fs, injector), injector}
}

type recycling struct {
	vfs.FS
	injector errorfs.Injector
}

// ReuseForWrite implements vfs.FS.
func (r recycling) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := r.FS.ReuseForWrite(oldname, newname, category)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(f, r.injector), nil
}
