"""What a vendor's folder must supply."""
