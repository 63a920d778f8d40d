"""Which documents are kept: filters, licences, opt-outs, deduplication, decontamination, the split."""
