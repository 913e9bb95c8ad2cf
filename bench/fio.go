package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// fioJob is one measurement of the drive: an access pattern with O_DIRECT and
// io_uring, as the daemon has it.
type fioJob struct {
	name  string
	rw    string // fio's name of the pattern
	block string
	depth int
	jobs  int
	sync  bool // fdatasync after every write
}

// fioJobs are the drive's limits that the matrix is held against.
func fioJobs() []fioJob {
	var out []fioJob
	for _, depth := range []int{1, 16, 64} {
		out = append(out, fioJob{"random read", "randread", "4k", depth, 1, false})
	}
	for _, depth := range []int{1, 16, 64} {
		out = append(out, fioJob{"random write", "randwrite", "4k", depth, 1, false})
	}
	return append(out,
		fioJob{"random write, fdatasync", "randwrite", "4k", 1, 1, true},
		fioJob{"random write, fdatasync", "randwrite", "4k", 1, 16, true},
		fioJob{"sequential write, fdatasync", "write", "4k", 1, 1, true},
		fioJob{"sequential read", "read", "1m", 1, 1, false},
		fioJob{"sequential read", "read", "1m", 16, 1, false},
		fioJob{"sequential write", "write", "1m", 1, 1, false},
		fioJob{"sequential write", "write", "1m", 16, 1, false},
		fioJob{"sequential write, fdatasync", "write", "1m", 1, 1, true},
		fioJob{"sequential write, fdatasync", "write", "1m", 1, 16, true},
	)
}

// driveResult is what fio said of one job.
type driveResult struct {
	Name      string  `json:"name"`
	Block     string  `json:"block"`
	Depth     int     `json:"depth"`
	Jobs      int     `json:"jobs"`
	PerSecond float64 `json:"operations_per_second"`
	MiBPerSec float64 `json:"mib_per_second"`
	P50us     float64 `json:"latency_p50_us"`
	P99us     float64 `json:"latency_p99_us"`
}

// fioSide is a direction in fio's JSON. With several jobs fio merges them
// (--group_reporting).
type fioSide struct {
	IOPS    float64 `json:"iops"`
	BWBytes float64 `json:"bw_bytes"`
	Latency struct {
		Percentile map[string]float64 `json:"percentile"`
	} `json:"clat_ns"`
}

// drive runs fio on a file of size bytes in dir, seconds for each job.
func drive(ctx context.Context, dir string, size int64, seconds int, tell func(driveResult)) error {
	if _, err := exec.LookPath("fio"); err != nil {
		return errors.New("fio is not installed")
	}
	file := filepath.Join(dir, "fio.data")
	defer func() { _ = os.Remove(file) }() // the directory goes too, or the user's own keeps it
	// Writing the file first: reads and writes of unwritten extents are neither
	// what an object store does nor what it can be held against.
	if _, err := fio(ctx, file, size, 0, fioJob{"prepare", "write", "1m", 16, 1, false}); err != nil {
		return err
	}
	for _, job := range fioJobs() {
		res, err := fio(ctx, file, size, seconds, job)
		if err != nil {
			return err
		}
		tell(res)
	}
	return nil
}

// fio runs one job; seconds 0: once over the file.
func fio(ctx context.Context, file string, size int64, seconds int, j fioJob) (res driveResult, err error) {
	args := []string{
		"--name=job", "--filename=" + file, "--size=" + strconv.FormatInt(size, 10), "--rw=" + j.rw, "--bs=" + j.block,
		"--ioengine=io_uring", "--direct=1", "--iodepth=" + strconv.Itoa(j.depth), "--numjobs=" + strconv.Itoa(j.jobs),
		"--group_reporting", "--output-format=json", "--percentile_list=50:99", "--randrepeat=0",
	}
	if j.sync {
		args = append(args, "--fdatasync=1")
	}
	if seconds > 0 {
		args = append(args, "--time_based", "--ramp_time=1", "--runtime="+strconv.Itoa(seconds))
	}
	out, err := exec.CommandContext(ctx, "fio", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return res, fmt.Errorf("fio %s %s: %w", j.rw, j.block, err)
	}
	return parseFio(out, j)
}

func parseFio(out []byte, j fioJob) (res driveResult, err error) {
	var report struct {
		Jobs []struct{ Read, Write fioSide }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return res, fmt.Errorf("fio's answer: %w", err)
	}
	if len(report.Jobs) != 1 {
		return res, fmt.Errorf("fio reported %d jobs", len(report.Jobs))
	}
	side := report.Jobs[0].Read
	if j.rw == "write" || j.rw == "randwrite" {
		side = report.Jobs[0].Write
	}
	return driveResult{
		Name: j.name, Block: j.block, Depth: j.depth, Jobs: j.jobs, PerSecond: side.IOPS, MiBPerSec: side.BWBytes / (1 << 20),
		P50us: side.Latency.Percentile["50.000000"] / 1e3, P99us: side.Latency.Percentile["99.000000"] / 1e3,
	}, nil
}
