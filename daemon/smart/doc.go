// Package smart tells how the devices behind drives are: temperature, wear, errors.
// It reads the health log of NVMe devices, and what the kernel offers in sysfs of the
// others. Nothing here changes a device.
//
// Invariants:
//
//   - A Cache answers at once, from what it read last; devices that hang are asked by
//     one goroutine each and never waited for.
//   - What a device does not tell is nil, not zero.
package smart
