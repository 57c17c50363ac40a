-- Separate databases: POSTGRES_DB names that of kdstudy's record; MLflow and its logins have tables with the same name.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
