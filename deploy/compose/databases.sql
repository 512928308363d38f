-- The store of verdicts. The shadow database is made by `shadow align clone`.
CREATE DATABASE store;
