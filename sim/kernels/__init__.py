"""What is clever lives here: few small kernels, each beside a plain version that tests hold it to."""
