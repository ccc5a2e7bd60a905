"""The service: other programs submit analyses over HTTP or MCP, and fetch what came of them.

settings, roots, tokens    what the operator allows: directories, tokens, limits
requests                   what a client may ask for
jobs                       the queue, kept in SQLite
runner -> worker           each job in a process of its own; operations, confined by guard
api, page, mcp_server      HTTP, a page for people, tools for language models
"""
