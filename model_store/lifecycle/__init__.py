"""What happens to a version of a store: canary, rollback, retirement, removal, verification."""
