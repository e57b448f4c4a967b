//! The FPGA card: its driver over VFIO, and its model in software.
