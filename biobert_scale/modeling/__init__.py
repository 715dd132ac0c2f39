"""The encoder of transformers' BertModel, without padding, with heads that compute what is predicted only."""
