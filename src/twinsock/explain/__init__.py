"""From records to verdicts and sentences. Adopts records into a twin and asks it; no I/O."""
