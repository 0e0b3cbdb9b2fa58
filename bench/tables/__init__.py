"""From records to tables: records in, pages out; nothing here imports torch."""
