-- Databases of their own: kdstudy's record is the one POSTGRES_DB names; MLflow and its logins own tables of one name.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
