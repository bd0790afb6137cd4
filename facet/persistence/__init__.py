"""The application's database: engine, transactions, rows, cursors, migrations. It imports no wing that uses rows."""
