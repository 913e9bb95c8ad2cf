package main

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/config"
)

// allowedCPUs returns the CPUs that this process may run on, in order: fewer
// than the machine has where a container or taskset says so.
func allowedCPUs() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	cpus := make([]int, 0, set.Count())
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// loopCPU chooses the CPU of a drive's loop: the last ones, one each, where
// there are more CPUs than drives and one; else no pinning (measured: on few
// cores it only takes a core from the rest).
func loopCPU(cfg *config.Config, allowed []int, n int) int {
	if !cfg.PinCPUs || len(allowed) <= max(len(cfg.Drives), n+1)+1 {
		return -1
	}
	return allowed[len(allowed)-1-n]
}

// loopAlone tells whether the daemon waits for no drive but the one to be opened, out of
// so many: see ioring.Options.
func loopAlone(cfg *config.Config, drives int) bool {
	return drives == 1 && len(cfg.MetadataDirs) == 0
}

// cpuFeatures are the instructions that the hashes, checksums and ciphers of a
// request have fast paths for.
func cpuFeatures() map[string]bool {
	cpu := &cpuid.CPU
	return map[string]bool{
		"aes":        cpu.Supports(cpuid.AESNI) || cpu.Supports(cpuid.AESARM), // TLS
		"sha256":     cpu.Supports(cpuid.SHA) || cpu.Supports(cpuid.SHA2),     // signed payloads
		"carry-less": cpu.Supports(cpuid.CLMUL) || cpu.Supports(cpuid.PMULL),  // CRCs
		"vector":     cpu.Supports(cpuid.AVX2) || cpu.Supports(cpuid.ASIMD),   // block checksums
	}
}

// logCPU says what the processor offers; what it lacks costs throughput that no
// setting gives back.
func logCPU(log *slog.Logger) {
	var missing []string
	for name, has := range cpuFeatures() {
		if !has {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	cpu := &cpuid.CPU
	log.Info("processor", "brand", cpu.BrandName, "cores", cpu.PhysicalCores, "threads_per_core", cpu.ThreadsPerCore,
		"l2_bytes", cpu.Cache.L2, "l3_bytes", cpu.Cache.L3, "allowed_cpus", len(allowedCPUs()))
	if len(missing) > 0 {
		log.Warn("the processor lacks instructions that make hashing and encryption fast", "missing", strings.Join(missing, ", "))
	}
}
