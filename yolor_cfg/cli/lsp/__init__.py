"""`yolor lsp`: what an editor shows of a cfg, in the language server protocol."""
